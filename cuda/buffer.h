// Arrays of the kernels' own, which are written before they are read.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <mutex>
#include <new>
#include <utility>
#include <vector>

#ifdef __linux__
#include <sys/mman.h>
#endif

namespace fewview {

constexpr size_t LARGE_PAGE = (size_t)2 << 20;

// Whoever wants much memory gets it in pages of 2 MiB: tiles visit a scene in strides longer than the usual page, and each
// page costs a search of its own. What is given back is kept for the next step of a training, because memory that the
// system hands out anew has to be filled with zeros first.
class LargeBlocks {
  public:
    static constexpr size_t MOST_KEPT = (size_t)256 << 20;  // bytes

    static bool serves(size_t bytes) { return bytes >= 2 * LARGE_PAGE; }

    void *take(size_t &bytes) {  // asked for; on return those that it has
        bytes = (bytes + LARGE_PAGE - 1) / LARGE_PAGE * LARGE_PAGE;
        {
            std::lock_guard<std::mutex> lock(mutex_);
            auto best = kept_.end();
            for (auto it = kept_.begin(); it != kept_.end(); it++)
                if (it->bytes >= bytes && it->bytes <= 2 * bytes && (best == kept_.end() || it->bytes < best->bytes)) best = it;
            if (best != kept_.end()) {
                const Block block = *best;
                kept_.erase(best);
                total_ -= block.bytes;
                bytes = block.bytes;
                return block.memory;
            }
        }
#ifdef __linux__
        void *memory = std::aligned_alloc(LARGE_PAGE, bytes);
        if (memory) madvise(memory, bytes, MADV_HUGEPAGE);  // a wish; what it says is no error
        return memory;
#else
        return std::malloc(bytes);
#endif
    }

    void give_back(void *memory, size_t bytes) {
        std::lock_guard<std::mutex> lock(mutex_);
        kept_.push_back({memory, bytes});
        total_ += bytes;
        while (total_ > MOST_KEPT) {  // the oldest go
            total_ -= kept_.front().bytes;
            std::free(kept_.front().memory);
            kept_.erase(kept_.begin());
        }
    }

  private:
    struct Block {
        void *memory;
        size_t bytes;
    };
    std::mutex mutex_;
    std::vector<Block> kept_;
    size_t total_ = 0;
};

inline LargeBlocks &large_blocks() {
    static auto *blocks = new LargeBlocks;  // never destroyed: buffers of other threads may outlive statics
    return *blocks;
}

// An array of plain values. Nothing fills it, so that the threads which do touch its memory first.
template <class T>
class Buffer {
  public:
    Buffer() = default;
    explicit Buffer(size_t size) { resize(size); }

    Buffer(Buffer &&other) noexcept { swap(other); }
    Buffer &operator=(Buffer &&other) noexcept {
        swap(other);
        return *this;
    }
    ~Buffer() { free_memory(); }

    void resize(size_t size) {  // what was in it is lost
        if (size * sizeof(T) > bytes_) {
            free_memory();
            size_t bytes = size * sizeof(T);
            data_ = (T *)(LargeBlocks::serves(bytes) ? large_blocks().take(bytes) : std::malloc(bytes));
            if (!data_) throw std::bad_alloc();
            bytes_ = bytes;
        }
        size_ = size;
    }
    size_t size() const { return size_; }
    T *data() { return data_; }
    const T *data() const { return data_; }
    T &operator[](size_t i) { return data_[i]; }
    const T &operator[](size_t i) const { return data_[i]; }

  private:
    void swap(Buffer &other) {
        std::swap(data_, other.data_);
        std::swap(size_, other.size_);
        std::swap(bytes_, other.bytes_);
    }

    void free_memory() {
        if (LargeBlocks::serves(bytes_))
            large_blocks().give_back(data_, bytes_);
        else
            std::free(data_);
        data_ = nullptr;
        size_ = bytes_ = 0;
    }

    T *data_ = nullptr;
    size_t size_ = 0, bytes_ = 0;  // bytes: how many the memory has
};

}  // namespace fewview
