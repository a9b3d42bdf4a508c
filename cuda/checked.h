// Shapes of arrays that come from Python.
#pragma once

#include <nanobind/ndarray.h>

#include <cstdint>
#include <initializer_list>
#include <optional>
#include <stdexcept>
#include <string>

namespace fewview {

// Throws unless the array has exactly this shape.
template <class Array>
auto *checked(const Array &array, const char *name, std::initializer_list<int64_t> shape) {
    bool same = array.ndim() == shape.size();
    size_t axis = 0;
    for (int64_t want : shape) same = same && (int64_t)array.shape(axis++) == want;
    if (!same) {
        std::string found, expected;
        for (size_t i = 0; i < array.ndim(); i++) found += (i ? ", " : "") + std::to_string(array.shape(i));
        for (int64_t want : shape) expected += (expected.empty() ? "" : ", ") + std::to_string(want);
        throw std::invalid_argument(std::string(name) + ": expected shape [" + expected + "], found [" + found + "]");
    }
    return array.data();
}

template <class Array>
auto *checked(const std::optional<Array> &array, const char *name, std::initializer_list<int64_t> shape) {
    return array ? checked(*array, name, shape) : nullptr;
}

}  // namespace fewview
