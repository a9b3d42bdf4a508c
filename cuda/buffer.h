// Arrays of the kernels' own, which are written before they are read.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <new>

#ifdef __linux__
#include <sys/mman.h>
#endif

namespace fewview {

struct Freed {
    void operator()(void *memory) const { std::free(memory); }
};

// Memory in pages of 2 MiB where there is much of it: tiles visit a scene in strides longer than the usual page, and each
// page costs a search of its own.
inline void *allocate_large(size_t bytes) {
#ifdef __linux__
    constexpr size_t PAGE = (size_t)2 << 20;
    if (bytes >= 2 * PAGE) {
        bytes = (bytes + PAGE - 1) / PAGE * PAGE;
        void *memory = std::aligned_alloc(PAGE, bytes);
        if (!memory) throw std::bad_alloc();
        madvise(memory, bytes, MADV_HUGEPAGE);  // a wish; what it says is no error
        return memory;
    }
#endif
    void *memory = std::malloc(bytes ? bytes : 1);
    if (!memory) throw std::bad_alloc();
    return memory;
}

// An array of plain values. Nothing fills it, so that the threads which do touch its memory first.
template <class T>
class Buffer {
  public:
    Buffer() = default;
    explicit Buffer(size_t size) { resize(size); }

    void resize(size_t size) {  // what was in it is lost
        if (size > capacity_) {
            capacity_ = size_ = 0;
            data_.reset();
            data_.reset((T *)allocate_large(size * sizeof(T)));
            capacity_ = size;
        }
        size_ = size;
    }
    size_t size() const { return size_; }
    T *data() { return data_.get(); }
    const T *data() const { return data_.get(); }
    T &operator[](size_t i) { return data_.get()[i]; }
    const T &operator[](size_t i) const { return data_.get()[i]; }

  private:
    std::unique_ptr<T, Freed> data_;
    size_t size_ = 0, capacity_ = 0;
};

}  // namespace fewview
