// Adam (Kingma & Ba 2015) in one pass over memory, with a learning rate per column and rows that may be skipped.
#include <algorithm>
#include <cmath>
#include <vector>

#include "kernels.h"
#include "parallel.h"
#include "sh_gradient.h"
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

// The learning rates of W elements that follow one another, whichever column they begin in.
class Rates {
  public:
    explicit Rates(const AdamArgs &args) : args_(args), by_row_(args.visible || args.row_scale), columns_(args.columns + W) {
        const double correction1 = 1.0 - std::pow((double)args.beta1, (double)args.step);
        const float inverse_correction1 = (float)(1.0 / correction1);
        for (int i = 0; i < args.columns + W; i++) columns_[i] = args.lr_columns[i % args.columns] * inverse_correction1;
    }

    // From a place in the table; below zero where a row is left alone.
    vf at(int64_t row, int column) const {
        const vf rate = load(columns_.data() + column);
        if (!by_row_) return rate;
        alignas(64) float factor[W];
        for (int l = 0; l < W;) {
            const int end = std::min(W, l + args_.columns - column);
            const float here = row < args_.rows ? of_row(row) : -1.0f;
            for (; l < end; l++) factor[l] = here;
            column = 0, row++;
        }
        const vf by_row = load(factor);
        return select(less(by_row, vf{}), splat(-1.0f), rate * by_row);
    }

    bool any(int64_t first, int64_t last) const {
        return !args_.visible || std::any_of(args_.visible + first, args_.visible + last, [](uint8_t v) { return v != 0; });
    }

  private:
    float of_row(int64_t row) const {
        return args_.visible && !args_.visible[row] ? -1.0f : args_.row_scale ? args_.row_scale[row] : 1.0f;
    }

    const AdamArgs &args_;
    bool by_row_;
    std::vector<float> columns_;  // begun again at its end, so that W can be read from each
};

}  // namespace

void adam_step(const AdamArgs &args) {
    const double correction2 = 1.0 - std::pow((double)args.beta2, (double)args.step);
    const Update update{splat(args.beta1), splat(args.beta2), splat(args.eps), splat((float)(1.0 / std::sqrt(correction2)))};
    const Rates rates(args);
    const int D = args.columns;
    const int64_t rows_per_job = std::max<int64_t>(W, GRAIN / D / W * W);
    const int jobs = (int)((args.rows + rows_per_job - 1) / rows_per_job);
    parallel_for(jobs, [&](int job) {
        const int64_t last = std::min(args.rows, (job + 1) * rows_per_job);
        std::vector<float> made(args.factors ? W * D : 0);
        // W rows are D vectors.
        for (int64_t first = job * rows_per_job; first < last; first += W) {
            const int rows = (int)std::min<int64_t>(W, last - first);
            if (!rates.any(first, first + rows)) continue;
            const int64_t begin = first * D, size = (int64_t)rows * D;
            const float *grad = args.factors ? made.data() : args.grad + begin;
            if (args.factors) sh_gradient_rows(*args.factors, args.rows, first, rows, D / 3, made.data());
            int64_t row = first, i = 0;
            int column = 0;
            auto go_on = [&] {
                for (column += W; column >= D; column -= D) row++;
            };
            for (; i + W <= size; i += W, go_on())
                update.apply(args.param + begin + i, grad + i, args.exp_avg + begin + i, args.exp_avg_sq + begin + i,
                             rates.at(row, column));
            if (i == size) continue;
            const int64_t left = size - i;
            alignas(64) float tail[4][W] = {};
            float *arrays[3] = {args.param + begin + i, args.exp_avg + begin + i, args.exp_avg_sq + begin + i};
            for (int a = 0; a < 3; a++) std::copy(arrays[a], arrays[a] + left, tail[a]);
            std::copy(grad + i, grad + size, tail[3]);
            update.apply(tail[0], tail[3], tail[1], tail[2], rates.at(row, column));
            for (int a = 0; a < 3; a++) std::copy(tail[a], tail[a] + left, arrays[a]);
        }
    });
}

}  // namespace fewview::FEWVIEW_ISA
