// Adam (Kingma & Ba 2015) in one pass over memory, with a learning rate per column and rows that may be skipped.
#include <algorithm>
#include <cmath>

#include "kernels.h"
#include "parallel.h"
#include "simd.h"

namespace fewview::FEWVIEW_ISA {
namespace {

constexpr int64_t GRAIN = 1 << 14;  // elements a job

struct Update {
    vf beta1, beta2, eps, inverse_sqrt_correction2;

    // W elements; a lane with rate < 0 is left alone.
    void apply(float *param, const float *grad, float *exp_avg, float *exp_avg_sq, vf rate) const {
        vf p = load(param), g = load(grad), m = load(exp_avg), v = load(exp_avg_sq);
        vf m_new = m + (1.0f - beta1) * (g - m);
        vf v_new = v + (1.0f - beta2) * (g * g - v);
        vf p_new = p - rate * m_new / (sqrt(v_new) * inverse_sqrt_correction2 + eps);
        vmask skip = less(rate, vf{});
        store(param, select(skip, p, p_new));
        store(exp_avg, select(skip, m, m_new));
        store(exp_avg_sq, select(skip, v, v_new));
    }
};

}  // namespace

void adam_step(const AdamArgs &args) {
    const double correction1 = 1.0 - std::pow((double)args.beta1, (double)args.step);
    const double correction2 = 1.0 - std::pow((double)args.beta2, (double)args.step);
    const Update update{splat(args.beta1), splat(args.beta2), splat(args.eps), splat((float)(1.0 / std::sqrt(correction2)))};
    const float inverse_correction1 = (float)(1.0 / correction1);
    const int64_t rows_per_job = std::max<int64_t>(W, GRAIN / args.columns / W * W), D = args.columns;
    const int jobs = (int)((args.rows + rows_per_job - 1) / rows_per_job);
    parallel_for(jobs, [&](int job) {
        const int64_t first = job * rows_per_job, last = std::min(args.rows, first + rows_per_job);
        int64_t row = first, column = 0;
        alignas(64) float rate[W];
        for (int64_t i = first * D; i < last * D; i += W) {
            const int count = (int)std::min<int64_t>(W, last * D - i);
            bool any_row = false;
            for (int l = 0; l < W; l++) {
                rate[l] = -1.0f;
                if (l >= count) continue;
                if (!args.visible || args.visible[row]) {
                    rate[l] = args.lr_columns[column] * inverse_correction1 * (args.row_scale ? args.row_scale[row] : 1.0f);
                    any_row = true;
                }
                if (++column == D) column = 0, row++;
            }
            if (!any_row) continue;
            if (count == W) {
                update.apply(args.param + i, args.grad + i, args.exp_avg + i, args.exp_avg_sq + i, load(rate));
            } else {
                alignas(64) float tail[4][W] = {};
                float *arrays[4] = {args.param + i, const_cast<float *>(args.grad) + i, args.exp_avg + i, args.exp_avg_sq + i};
                for (int a = 0; a < 4; a++) std::copy(arrays[a], arrays[a] + count, tail[a]);
                update.apply(tail[0], tail[1], tail[2], tail[3], load(rate));
                for (int a = 0; a < 4; a++)
                    if (a != 1) std::copy(tail[a], tail[a] + count, arrays[a]);
            }
        }
    });
}

}  // namespace fewview::FEWVIEW_ISA
