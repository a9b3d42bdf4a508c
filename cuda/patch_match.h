// PatchMatch stereo: the arguments, and the pictures that it samples.
//
// A hypothesis at a pixel is a plane, written as inverse depth and its change per pixel to the right and down
// (w, wx, wy): inverse depth is linear in the pixel on any plane. A point p + d of the patch then lies in a source at
// A (p + d) + b (w + wx dx + wy dy), which is linear in d before the division.
#pragma once

#include <cstdint>
#include <vector>

namespace fewview {

constexpr int MAX_STEREO_SOURCES = 16;

// A grey picture of 8 bits whose pixel carries its right, lower and lower right neighbours in its higher bytes: one
// load for a bilinear look-up. The border repeats.
struct StereoLevel {
    int width = 0, height = 0;
    std::vector<int32_t> quads;  // [height, width]
};

struct StereoImage {
    std::vector<StereoLevel> levels;  // each half as wide as the one before, rounded
};

struct PatchMatchArgs {
    const StereoImage *reference;
    int level;  // of the reference; its pixels are the unit of everything that does not say otherwise
    int sources;
    const StereoImage *const *source;        // [S]
    const float *source_from_reference;      // [S, 3, 4] (A | b), to pixels of the source's level 0
    const float *reference_from_source;      // [S, 3, 4] the way back, from pixels of the source's `level`
    const float *const *source_planes;       // S times [Hs, Ws, 3] hypotheses at `level`, or null: no geometric term
    const float *prior;                      // [H, W] expected inverse depth, or null
    const uint8_t *mask;                     // [H, W] 0: the pixel does not count, or null
    float fx, fy, cx, cy;                    // of the reference
    float low, high;                         // range of inverse depth
    int best;                                // sources that count at a pixel: those that agree best
    float sigma_grey, noise_variance;        // of the bilateral weight; added to both variances of the correlation
    float geometric_weight, geometric_max_px;
    float prior_weight, prior_max;           // relative difference at which the prior's term is full
    float *planes;  // [H, W, 3]
    float *costs;   // [H, W]
};

struct PatchMatchSweep {
    uint32_t seed;         // a different one for each sweep
    float depth_step;      // largest relative change of inverse depth
    float slope_step;      // largest change of the plane's slope (tangent)
    bool explore;          // also planes from anywhere in the range
};

}  // namespace fewview
