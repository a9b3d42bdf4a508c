// The choice of kernels by a short measurement, kept in a file for the next process.
//
// Wider vectors are not always faster: AVX-512 loses to AVX2 in the pixel loops of some processors and wins on others, and
// so do products of bfloat16. Each family of kernels is therefore run on a small problem, about a tenth of a second in
// all, at its first use on a machine. `$XDG_CACHE_HOME/fewview/kernels.txt` (else `~/.cache`) holds the times, so that a
// machine keeps its choice, and with it the bits of its results.
#include "kernel_choice.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <mutex>
#include <sstream>
#include <stdexcept>
#include <thread>

#if defined(FEWVIEW_X86)
#include <cpuid.h>
#endif

#ifndef FEWVIEW_VERSION
#error "FEWVIEW_VERSION is the version of the package: its times are not those of another one"
#endif

namespace fewview {

#define FEWVIEW_DECLARE(isa) \
    namespace isa {          \
    extern const Kernels kernels; \
    }
#if defined(FEWVIEW_X86)
FEWVIEW_DECLARE(sse2)
FEWVIEW_DECLARE(avx2)
FEWVIEW_DECLARE(avx512)
#else
FEWVIEW_DECLARE(plain)
#endif

namespace {

constexpr double CLEARLY = 0.93;    // of the time of the path before it, to be preferred: less is noise
constexpr size_t MAX_CACHE = 4096;  // bytes; the file that is written has a few hundred

struct Choice {
    const Kernels *rendering = nullptr, *convolution = nullptr;
    bool bf16 = false;
    std::vector<KernelTime> times;
};

bool processor_has_bf16() {
#if defined(FEWVIEW_X86)
    return __builtin_cpu_supports("avx512bf16");
#else
    return false;
#endif
}

// The name that the processor gives itself.
std::string processor() {
#if defined(FEWVIEW_X86)
    unsigned words[12] = {};
    for (unsigned i = 0; i < 3; i++)
        if (!__get_cpuid(0x80000002u + i, &words[4 * i], &words[4 * i + 1], &words[4 * i + 2], &words[4 * i + 3])) break;
    unsigned family = 0, b = 0, c = 0, d = 0;
    (void)__get_cpuid(1, &family, &b, &c, &d);
    char name[sizeof words + 1] = {};
    std::memcpy(name, words, sizeof words);
    return std::string(name) + " " + std::to_string(family);  // virtual machines may give all of a maker's the same name
#else
    return "plain";
#endif
}

// Those worth a measurement: SSE2 is there for processors that have nothing else.
std::vector<const Kernels *> candidates() {
    std::vector<const Kernels *> usable = usable_kernels();
    if (usable.size() > 1) usable.pop_back();
    return usable;
}

// ------------------------------------------------------------------------------------------------- what is kept

std::filesystem::path cache_file() {
    const auto value = [](const char *name) {
        const char *text = std::getenv(name);
        return text && *text ? std::string(text) : std::string();
    };
#ifdef _WIN32
    const std::filesystem::path base = value("LOCALAPPDATA");
#else
    const std::string home = value("HOME");
    const std::filesystem::path base =
        !value("XDG_CACHE_HOME").empty() ? value("XDG_CACHE_HOME") : home.empty() ? "" : home + "/.cache";
#endif
    return base.empty() ? base : base / "fewview" / "kernels.txt";
}

std::string first_line() { return std::string("fewview " FEWVIEW_VERSION " on ") + processor(); }

// Empty unless the file is this machine's and has every path.
std::vector<KernelTime> read_times(const std::filesystem::path &path) {
    std::error_code ignored;
    if (path.empty() || std::filesystem::file_size(path, ignored) > MAX_CACHE || ignored) return {};
    std::ifstream file(path);
    std::string line;
    if (!std::getline(file, line) || line != first_line()) return {};
    std::vector<KernelTime> times;
    while (std::getline(file, line)) {
        std::istringstream words(line);
        KernelTime time;
        if (!(words >> time.family >> time.path >> time.milliseconds) || !(time.milliseconds > 0.0)) return {};
        times.push_back(time);
    }
    return times;
}

// A file that cannot be written costs the next process a tenth of a second and nothing else.
void write_times(const std::filesystem::path &path, const std::vector<KernelTime> &times) {
    if (path.empty()) return;
    std::error_code failed;
    std::filesystem::create_directories(path.parent_path(), failed);
    if (failed) return;
    std::ostringstream name;
    name << path.filename().string() << "." << std::hash<std::thread::id>()(std::this_thread::get_id()) << "."
         << std::chrono::steady_clock::now().time_since_epoch().count();
    const std::filesystem::path part = path.parent_path() / name.str();
    {
        std::ofstream file(part);
        file << first_line() << "\n";
        for (const KernelTime &t : times) file << t.family << " " << t.path << " " << t.milliseconds << "\n";
        if (!file.flush()) failed = std::make_error_code(std::errc::io_error);
    }
    if (!failed) std::filesystem::rename(part, path, failed);
    if (failed) std::filesystem::remove(part, failed);
}

// ------------------------------------------------------------------------------------------------- the choice

const KernelTime *find(const std::vector<KernelTime> &times, const std::string &family, const std::string &path) {
    for (const KernelTime &time : times)
        if (time.family == family && time.path == path) return &time;
    return nullptr;
}

// Throws std::out_of_range where a path has no time.
const Kernels *fastest(const std::vector<KernelTime> &times, const char *family) {
    const Kernels *best = nullptr;
    double shortest = 0.0;
    for (const Kernels *k : candidates()) {
        const KernelTime *time = find(times, family, k->name);
        if (!time) throw std::out_of_range(family);
        if (best && time->milliseconds > CLEARLY * shortest) continue;
        best = k;
        shortest = time->milliseconds;
    }
    return best;
}

Choice choose(std::vector<KernelTime> times) {
    Choice choice;
    choice.rendering = fastest(times, RENDERING);
    choice.convolution = fastest(times, CONVOLUTION);
    if (choice.convolution->sparse_conv_bf16 && processor_has_bf16()) {
        const KernelTime *rounded = find(times, CONVOLUTION, BFLOAT16);
        if (!rounded) throw std::out_of_range(BFLOAT16);
        choice.bf16 = rounded->milliseconds < CLEARLY * find(times, CONVOLUTION, choice.convolution->name)->milliseconds;
    }
    choice.times = std::move(times);
    return choice;
}

Choice without_measurement(const Kernels *kernels) {
    return {kernels, kernels, kernels->sparse_conv_bf16 && processor_has_bf16(), {}};
}

Choice make_choice() {
    if (candidates().size() == 1) return without_measurement(candidates().front());
    const std::filesystem::path path = cache_file();
    try {
        return choose(read_times(path));
    } catch (const std::out_of_range &) {  // no file, another machine's, or half a file
        const std::vector<KernelTime> times = time_kernels(candidates(), processor_has_bf16());
        write_times(path, times);
        return choose(times);
    }
}

std::mutex choice_mutex;
Choice chosen;
std::atomic<bool> is_chosen{false};

const Choice &choice() {
    if (!is_chosen.load(std::memory_order_acquire)) {
        std::lock_guard<std::mutex> lock(choice_mutex);
        if (!is_chosen.load(std::memory_order_relaxed)) {
            chosen = make_choice();
            is_chosen.store(true, std::memory_order_release);
        }
    }
    return chosen;
}

}  // namespace

std::vector<const Kernels *> usable_kernels() {
#if defined(FEWVIEW_X86)
    std::vector<const Kernels *> usable;
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
        __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512cd"))
        usable.push_back(&avx512::kernels);
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi2"))
        usable.push_back(&avx2::kernels);
    usable.push_back(&sse2::kernels);
    return usable;
#else
    return {&plain::kernels};
#endif
}

const Kernels &rendering_kernels() { return *choice().rendering; }

const Kernels &convolution_kernels() { return *choice().convolution; }

bool has_bf16() {
    // FEWVIEW_BF16=0 denies it, as on processors with AVX-512 that lack it.
    const char *wanted = std::getenv("FEWVIEW_BF16");
    const bool denied = wanted && std::string(wanted) == "0";
    return !denied && convolution_kernels().sparse_conv_bf16 && processor_has_bf16();
}

bool prefers_bf16() { return has_bf16() && choice().bf16; }

std::vector<KernelTime> kernel_times() { return choice().times; }

void set_isa(const std::string &name) {
    for (const Kernels *k : usable_kernels())
        if (name == k->name) {
            std::lock_guard<std::mutex> lock(choice_mutex);
            chosen = without_measurement(k);
            is_chosen.store(true, std::memory_order_release);
            return;
        }
    std::string all;
    for (const Kernels *k : usable_kernels()) all += (all.empty() ? "" : ", ") + std::string(k->name);
    throw std::invalid_argument("this machine has no kernels for '" + name + "'; it has " + all);
}

void kernels_from_environment() {
    if (const char *name = std::getenv("FEWVIEW_ISA"); name && *name) set_isa(name);
}

}  // namespace fewview
