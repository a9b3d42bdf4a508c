// Small problems on which the families of kernels are timed, one for each: forward and backward of a picture, and a sparse
// convolution.
#include "kernel_timing.h"

#include <algorithm>
#include <chrono>
#include <functional>
#include <random>

#include "sparse_conv.h"

namespace fewview {
namespace {

constexpr int ROUNDS = 7;  // of each path in turn; the shortest counts

// A small picture of many overlapping blobs, forward and backward: the pixel loops take most of a training step.
class RenderingProblem {
  public:
    RenderingProblem() : means2d_(2 * N), depths_(N), conics_(3 * N), opacities_(N), colors_(3 * N), radii_(2 * N) {
        std::mt19937 random(7);
        std::uniform_real_distribution<float> uniform(0.0f, 1.0f);
        for (int i = 0; i < N; i++) {
            const float sigma = 1.0f + 5.0f * uniform(random) * uniform(random);
            means2d_[2 * i] = WIDTH * uniform(random);
            means2d_[2 * i + 1] = HEIGHT * uniform(random);
            depths_[i] = 1.0f + uniform(random);
            conics_[3 * i] = conics_[3 * i + 2] = 1.0f / (sigma * sigma);
            conics_[3 * i + 1] = 0.3f * conics_[3 * i];
            opacities_[i] = 0.1f + 0.6f * uniform(random);
            for (int d = 0; d < 3; d++) colors_[3 * i + d] = uniform(random);
            radii_[2 * i] = radii_[2 * i + 1] = (int)(3.3f * sigma) + 1;
        }
    }

    void run(const Kernels &kernels) {
        TileLists lists;
        const BinArgs bin{N, WIDTH, HEIGHT, radii_.data(), means2d_.data(), depths_.data(), conics_.data(), opacities_.data()};
        bin_gaussians(bin, kernels, lists);
        RasterizeBackwardArgs args{};
        args.forward = {&lists, 3, colors_.data(), nullptr, image_.data(), transmittance_.data()};
        kernels.rasterize(args.forward);
        args.v_out_colors = image_.data();
        args.v_out_alphas = transmittance_.data();
        args.v_means2d = v_means2d_.data();
        args.v_conics = v_conics_.data();
        args.v_colors = v_colors_.data();
        args.v_opacities = v_opacities_.data();
        kernels.rasterize_backward(args);
    }

  private:
    static constexpr int N = 3000, WIDTH = 256, HEIGHT = 192;
    std::vector<float> means2d_, depths_, conics_, opacities_, colors_;
    std::vector<int32_t> radii_;
    std::vector<float> image_ = std::vector<float>(3 * WIDTH * HEIGHT), transmittance_ = std::vector<float>(WIDTH * HEIGHT);
    std::vector<float> v_means2d_ = std::vector<float>(2 * N), v_conics_ = std::vector<float>(3 * N),
                       v_colors_ = std::vector<float>(3 * N), v_opacities_ = std::vector<float>(N);
};

// A kernel of 3 x 3 x 3 over a sheet of voxels, as LiDAR leaves them: 64 channels to 64.
class ConvolutionProblem {
  public:
    ConvolutionProblem() {
        std::vector<int32_t> indices;
        for (int x = 0; x < SIDE; x++)
            for (int y = 0; y < SIDE; y++)
                for (int z = 0; z < 2; z++) indices.insert(indices.end(), {0, x, y, (x + y) / 8 + z});
        const int64_t n = (int64_t)indices.size() / 4;
        VoxelSearch search{};
        for (int axis = 0; axis < 3; axis++) {
            search.scale[axis] = 1;
            search.offsets[axis] = {-1, 0, 1};
        }
        map_ = find_symmetric_pairs(sort_voxels(indices.data(), n), search);
        std::mt19937 random(7);
        std::uniform_real_distribution<float> uniform(-1.0f, 1.0f);
        in_.resize(n * CHANNELS);
        out_.resize(n * CHANNELS);
        weight_.resize((size_t)CHANNELS * 27 * CHANNELS);
        for (float &x : in_) x = uniform(random);
        for (float &x : weight_) x = uniform(random);
    }

    void run(void (*kernel)(const SparseConvArgs &)) {
        SparseConvArgs a{};
        a.map = &map_;
        a.in_channels = a.out_channels = CHANNELS;
        a.in = in_.data();
        a.weight = weight_.data();
        a.slot_stride = CHANNELS;
        a.in_stride = 1;
        a.out_stride = 27 * CHANNELS;
        a.out = out_.data();
        kernel(a);
    }

  private:
    static constexpr int SIDE = 24, CHANNELS = 64;
    SparseMap map_;
    std::vector<float> in_, weight_, out_;
};

// A path and how to run it once.
struct Path {
    const char *family, *name;
    std::function<void()> run;
};

// Takes the paths in turn, so that a slow moment of the machine falls on all of them.
std::vector<KernelTime> measure(const std::vector<Path> &paths) {
    std::vector<KernelTime> times;
    for (const Path &path : paths) {
        path.run();  // brings memory and code into the caches
        times.push_back({path.family, path.name, 1e30});
    }
    for (int round = 0; round < ROUNDS; round++)
        for (size_t i = 0; i < paths.size(); i++) {
            const auto start = std::chrono::steady_clock::now();
            paths[i].run();
            const std::chrono::duration<double, std::milli> took = std::chrono::steady_clock::now() - start;
            times[i].milliseconds = std::min(times[i].milliseconds, took.count());
        }
    return times;
}

}  // namespace

std::vector<KernelTime> time_kernels(const std::vector<const Kernels *> &candidates, bool with_bfloat16) {
    RenderingProblem rendering;
    ConvolutionProblem convolution;
    std::vector<Path> paths;
    for (const Kernels *k : candidates) {
        paths.push_back({RENDERING, k->name, [&rendering, k] { rendering.run(*k); }});
        paths.push_back({CONVOLUTION, k->name, [&convolution, k] { convolution.run(k->sparse_conv); }});
        if (k->sparse_conv_bf16 && with_bfloat16)
            paths.push_back({CONVOLUTION, BFLOAT16, [&convolution, k] { convolution.run(k->sparse_conv_bf16); }});
    }
    return measure(paths);
}

}  // namespace fewview
