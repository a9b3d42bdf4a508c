// sum of weight * |depth * ray - A x - b| over all pixels of all sides, with its gradients in the same pass.
//
// A residual is as long in the camera's frame as in the world, so pose and edge similarity of a side enter through one
// 3 x 4 matrix [A | b]: what is summed over pixels is its 12 gradients, and the chain to quaternions and scales is the
// caller's. Each side's points and weights are read once from memory; all else stays in the first cache.
#include "alignment.h"

#include <algorithm>
#include <memory>

#include "kernels.h"
#include "parallel.h"
#include "simd.h"

namespace fewview::FEWVIEW_ISA {
namespace {

constexpr int CHUNK = 512;  // pixels: ten rows of floats fill 20 KiB
constexpr int LINE = 16;    // floats of a cache line
constexpr int CHUNKS = 8;   // a job
constexpr int SUMS = 13;    // 12 of the matrix, row by row, and the loss

struct Points {
    alignas(64) float x[CHUNK], y[CHUNK], z[CHUNK];
};

struct Job {
    int view;
    int64_t begin, end;  // pixels of the view
    int64_t sums;        // where its sums begin, in doubles
};

// Points of `count` pixels from `begin` on, in the camera; zero behind the last one.
void unproject(const float *log_depth, const float *k, int width, int64_t begin, int count, Points &out) {
    int x = (int)(begin % width), y = (int)(begin / width);
    for (int i = 0; i < count; i++) {
        out.x[i] = ((float)x + 0.5f - k[2]) / k[0];
        out.y[i] = ((float)y + 0.5f - k[3]) / k[1];
        out.z[i] = log_depth[i];
        if (++x == width) x = 0, y++;
    }
    for (int i = count; i % W; i++) out.x[i] = out.y[i] = out.z[i] = 0.0f;
    for (int i = 0; i < count; i += W) {
        const vf bits = min(max(load(out.z + i) * 1.44269504f, splat(-126.0f)), splat(126.0f));
        const vf depth = exp2(bits);
        store(out.x + i, load(out.x + i) * depth);
        store(out.y + i, load(out.y + i) * depth);
        store(out.z + i, depth);
    }
}

// Adds one side: its sums, and for each pixel the gradient of the point in the camera. While it computes, what comes
// `next` is on its way from memory: sides are far apart there, and the processor would not guess it.
void add_side(const Points &camera, const float *__restrict points, const float *__restrict weights, float share,
              const float *__restrict m, int count, const float *next_points, const float *next_weights,
              Points &__restrict gradient, double *sums) {
    alignas(64) Points p;
    alignas(64) float w[CHUNK];
    for (int i = 0; i < count; i++) {
        p.x[i] = points[3 * i];
        p.y[i] = points[3 * i + 1];
        p.z[i] = points[3 * i + 2];
    }
    std::copy(weights, weights + count, w);
    for (int i = count; i % W; i++) p.x[i] = p.y[i] = p.z[i] = w[i] = 0.0f;
    vf xx = vf{}, xy = vf{}, xz = vf{}, x1 = vf{}, yx = vf{}, yy = vf{}, yz = vf{}, y1 = vf{}, zx = vf{}, zy = vf{},
       zz = vf{}, z1 = vf{}, loss = vf{};
    for (int i = 0; i < count; i += W) {
        if (i % LINE == 0) {
            for (int k = 0; k < 3; k++) __builtin_prefetch(next_points + 3 * i + LINE * k);
            __builtin_prefetch(next_weights + i);
        }
        const vf x = load(p.x + i), y = load(p.y + i), z = load(p.z + i), weight = load(w + i) * share;
        const vf rx = load(camera.x + i) - (m[0] * x + m[1] * y + m[2] * z + m[3]);
        const vf ry = load(camera.y + i) - (m[4] * x + m[5] * y + m[6] * z + m[7]);
        const vf rz = load(camera.z + i) - (m[8] * x + m[9] * y + m[10] * z + m[11]);
        const vf norm = sqrt(rx * rx + ry * ry + rz * rz);
        // No slope where the residual is 0, as torch.norm has it.
        const vf factor = weight / max(norm, splat(1e-30f));
        const vf gx = rx * factor, gy = ry * factor, gz = rz * factor;
        store(gradient.x + i, load(gradient.x + i) + gx);
        store(gradient.y + i, load(gradient.y + i) + gy);
        store(gradient.z + i, load(gradient.z + i) + gz);
        xx += gx * x, xy += gx * y, xz += gx * z, x1 += gx;
        yx += gy * x, yy += gy * y, yz += gy * z, y1 += gy;
        zx += gz * x, zy += gz * y, zz += gz * z, z1 += gz;
        loss += weight * norm;
    }
    const vf all[SUMS] = {xx, xy, xz, x1, yx, yy, yz, y1, zx, zy, zz, z1, loss};
    for (int k = 0; k < SUMS; k++) sums[k] += (double)sum(all[k]);
}

// From the points' gradients to those of log depth; returns the sums for the two focal lengths.
void add_camera(const Points &camera, const Points &gradient, const float *k, int count, float *v_log_depth,
                double *v_focal) {
    vf by_x = vf{}, by_y = vf{};
    alignas(64) float v[W];
    for (int i = 0; i < count; i += W) {
        const vf x = load(camera.x + i) * load(gradient.x + i), y = load(camera.y + i) * load(gradient.y + i);
        by_x += x, by_y += y;
        store(v, x + y + load(camera.z + i) * load(gradient.z + i));
        std::copy(v, v + std::min(W, count - i), v_log_depth + i);
    }
    v_focal[0] -= (double)sum(by_x) / k[0];
    v_focal[1] -= (double)sum(by_y) / k[1];
}

}  // namespace

void alignment_loss(AlignmentArgs &args) {
    std::vector<std::vector<int>> sides_of_view(args.views);
    for (size_t s = 0; s < args.sides.size(); s++) sides_of_view[args.sides[s].view].push_back((int)s);
    std::vector<int64_t> first_pixel(args.views + 1, 0);
    std::vector<Job> jobs;
    int64_t n_sums = 0;
    for (int view = 0; view < args.views; view++) {
        const int64_t pixels = (int64_t)args.sizes[2 * view] * args.sizes[2 * view + 1];
        first_pixel[view + 1] = first_pixel[view] + pixels;
        for (int64_t begin = 0; begin < pixels; begin += CHUNK * CHUNKS) {
            jobs.push_back({view, begin, std::min(pixels, begin + CHUNK * CHUNKS), n_sums});
            n_sums += SUMS * (int64_t)sides_of_view[view].size() + 2;
        }
    }
    std::unique_ptr<double[]> sums(new double[n_sums]());

    parallel_for((int)jobs.size(), [&](int index) {
        const Job &job = jobs[index];
        const std::vector<int> &sides = sides_of_view[job.view];
        const float *k = args.intrinsics + 4 * job.view;
        double *own = sums.get() + job.sums;
        alignas(64) Points camera, gradient;
        for (int64_t begin = job.begin; begin < job.end; begin += CHUNK) {
            const int count = (int)std::min<int64_t>(CHUNK, job.end - begin);
            const int64_t at = first_pixel[job.view] + begin;
            unproject(args.log_depth + at, k, args.sizes[2 * job.view + 1], begin, count, camera);
            std::fill_n(&gradient.x[0], CHUNK, 0.0f);
            std::fill_n(&gradient.y[0], CHUNK, 0.0f);
            std::fill_n(&gradient.z[0], CHUNK, 0.0f);
            for (size_t s = 0; s < sides.size(); s++) {
                const AlignmentSide &side = args.sides[sides[s]];
                const bool is_last = s + 1 == sides.size();
                const AlignmentSide &next = args.sides[sides[is_last ? 0 : s + 1]];
                const int64_t then = begin + (is_last ? CHUNK : 0);  // may lie beyond the end, where nothing is read
                add_side(camera, side.points + 3 * begin, side.weights + begin, side.share,
                         args.cam_from_side + 12 * sides[s], count, next.points + 3 * then, next.weights + then,
                         gradient, own + 2 + SUMS * s);
            }
            add_camera(camera, gradient, k, count, args.v_log_depth + at, own);
        }
    });

    std::vector<double> v_focal(2 * args.views, 0.0), v_matrix(SUMS * args.sides.size(), 0.0);
    for (const Job &job : jobs) {
        const double *own = sums.get() + job.sums;
        for (int axis = 0; axis < 2; axis++) v_focal[2 * job.view + axis] += own[axis];
        for (size_t s = 0; s < sides_of_view[job.view].size(); s++)
            for (int k = 0; k < SUMS; k++)
                v_matrix[SUMS * sides_of_view[job.view][s] + k] += own[2 + SUMS * s + k];
    }
    std::copy(v_focal.begin(), v_focal.end(), args.v_focal);
    args.loss = 0.0;
    for (size_t s = 0; s < args.sides.size(); s++) {
        for (int k = 0; k < 12; k++) args.v_cam_from_side[12 * s + k] = -(float)v_matrix[SUMS * s + k];
        args.loss += v_matrix[SUMS * s + 12];
    }
}

}  // namespace fewview::FEWVIEW_ISA
