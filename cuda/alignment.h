// The objective of global alignment: many pointmaps against the depth maps of a few posed views.
#pragma once

#include <cstdint>
#include <vector>

namespace fewview {

// One pointmap of one view, as one edge saw it.
struct AlignmentSide {
    int view;
    float share;           // the side's weight as a whole
    const float *points;   // [H, W, 3]
    const float *weights;  // [H, W]
};

struct AlignmentArgs {
    int views;
    const int32_t *sizes;        // [N, 2] height, width
    const float *intrinsics;     // [N, 4] fx, fy, cx, cy
    const float *log_depth;      // [P] views one after the other
    std::vector<AlignmentSide> sides;
    const float *cam_from_side;  // [S, 3, 4] from a side's points to its view's camera, with scale
    float *v_focal;              // [N, 2]
    float *v_log_depth;          // [P]
    float *v_cam_from_side;      // [S, 3, 4]
    double loss;                 // sum of share * weight * |depth * ray - cam_from_side @ point|
};

}  // namespace fewview
