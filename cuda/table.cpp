// Compiled once for each instruction set: the functions of this one, as a table.
#include "kernels.h"

namespace fewview::FEWVIEW_ISA {

void project(const ProjectArgs &);
void project_backward(const ProjectBackwardArgs &);
void sh_colors(const ShArgs &);
void sh_colors_backward(const ShBackwardArgs &);
void sh_gradient(const ShFactors &, int64_t, int, float *);
void make_splats(const BinArgs &, TileLists &);
void rasterize(const RasterizeArgs &);
void rasterize_backward(const RasterizeBackwardArgs &);
void image_loss(ImageLossArgs &);
void adam_step(const AdamArgs &);
void alignment_loss(AlignmentArgs &);
void patch_match_costs(const PatchMatchArgs &);
void patch_match_sweep(const PatchMatchArgs &, const PatchMatchSweep &);
void sparse_conv(const SparseConvArgs &);
#if defined(__AVX512F__)
void sparse_conv_bf16(const SparseConvArgs &);
#else
constexpr void (*sparse_conv_bf16)(const SparseConvArgs &) = nullptr;
#endif
void sparse_conv_weight(const SparseConvWeightArgs &);
void sparse_pool(const SparsePoolArgs &);
void sparse_pool_backward(const SparsePoolBackwardArgs &);
void nearest_points(const NearestArgs &);
void node_weights(const NodeWeightArgs &);
void node_weights_backward(const NodeWeightBackwardArgs &);
void carry(const CarryArgs &);
void carry_backward(const CarryBackwardArgs &);
void skin(const SkinArgs &);
void skin_backward(const SkinBackwardArgs &);

#define FEWVIEW_TEXT_(x) #x
#define FEWVIEW_TEXT(x) FEWVIEW_TEXT_(x)

extern const Kernels kernels;
const Kernels kernels = {
    FEWVIEW_TEXT(FEWVIEW_ISA), project, project_backward, sh_colors, sh_colors_backward, sh_gradient,
    make_splats, rasterize, rasterize_backward, image_loss, adam_step, alignment_loss, patch_match_costs,
    patch_match_sweep, sparse_conv, sparse_conv_bf16, sparse_conv_weight, sparse_pool, sparse_pool_backward,
    nearest_points, node_weights, node_weights_backward, carry, carry_backward, skin, skin_backward,
};

}  // namespace fewview::FEWVIEW_ISA
