#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <thread>
#include <utility>

#include "shim.hpp"

using Work = std::function<cudaError_t()>;

namespace {

constexpr int devices = 2;
constexpr std::size_t device_bytes = std::size_t{1} << 30;

struct StreamState {
    int device = 0;
    std::deque<Work> waiting;
    std::uint64_t queued = 0;
    std::uint64_t done = 0;
    bool capturing = false;
    bool capture_is_valid = true;
    std::thread::id capturer;
    std::vector<Work> captured;
};

struct Region {
    char* shadow;
    std::size_t bytes;
    int device;
};

struct Failure {
    cudaError_t status;
    int nth;
};

std::recursive_mutex mutex;
std::map<char*, Region> regions;  // device memory by the pointer that was given out
std::map<void*, std::size_t> pinned;
std::map<std::string, Failure> failures;
std::map<std::string, int> refusals;
std::map<std::string, int> called;
std::map<std::string, int> living;
std::vector<std::string> violated;
std::shared_ptr<StreamState> default_streams[devices];
std::vector<std::shared_ptr<StreamState>> captures;  // those that are under way
int waiting = 0;
cudaError_t lost = cudaSuccess;
cudaError_t breaking = cudaSuccess;

thread_local int depth = 0;
thread_local int current_device = 0;
thread_local cudaError_t last_error = cudaSuccess;

}  // namespace

struct CUstream_st {
    std::shared_ptr<StreamState> state;
};

struct CUevent_st {
    std::shared_ptr<StreamState> stream;
    std::uint64_t position = 0;
};

struct CUgraph_st {
    std::vector<Work> work;
};

struct CUgraphExec_st {
    std::shared_ptr<const std::vector<Work>> work;
};

namespace {

/// One call of the API: locked, counted, and failed if a test wants it.
class Call {
public:
    explicit Call(const char* function) : lock_(mutex) {
        ++called[function];
        if (lost != cudaSuccess) {
            status_ = lost;
        }
        const auto failure = failures.find(function);
        if (failure != failures.end() && --failure->second.nth == 0) {
            status_ = failure->second.status;
            failures.erase(failure);
        }
    }

    bool fails() const { return status_ != cudaSuccess; }

    cudaError_t gives(cudaError_t status = cudaSuccess) {
        status_ = fails() ? status_ : status;
        if (fails()) {
            last_error = status_;
        }
        return status_;
    }

private:
    shim::Inside inside_;
    std::lock_guard<std::recursive_mutex> lock_;
    cudaError_t status_ = cudaSuccess;
};

std::shared_ptr<StreamState> state_of(cudaStream_t stream) {
    if (stream != nullptr) {
        return stream->state;
    }
    std::shared_ptr<StreamState>& state = default_streams[current_device];
    if (!state) {
        state = std::make_shared<StreamState>();
        state->device = current_device;
    }
    return state;
}

void run_until(StreamState& stream, std::uint64_t position) {
    while (stream.done < position && !stream.waiting.empty()) {
        const Work work = std::move(stream.waiting.front());
        stream.waiting.pop_front();
        ++stream.done;
        --waiting;
        cudaError_t status = work();
        if (breaking != cudaSuccess) {
            status = std::exchange(breaking, cudaSuccess);
        }
        if (status != cudaSuccess && lost == cudaSuccess) {
            lost = status;
        }
    }
}

void push(StreamState& stream, Work work) {
    stream.waiting.push_back(std::move(work));
    ++stream.queued;
    ++waiting;
}

/// Whether this thread captures: then calls that wait or allocate are not allowed, and end the capture.
bool forbidden_in_capture() {
    bool forbidden = false;
    for (const auto& stream : captures) {
        if (stream->capturer == std::this_thread::get_id()) {
            stream->capture_is_valid = false;
            forbidden = true;
        }
    }
    return forbidden;
}

}  // namespace

namespace shim {

Inside::Inside() {
    ++depth;
}

Inside::~Inside() {
    --depth;
}

bool inside() {
    return depth > 0;
}

void fail(const std::string& function, cudaError_t status, int nth) {
    const std::lock_guard<std::recursive_mutex> lock(mutex);
    failures[function] = {status, nth};
}

void refuse(const std::string& member, int nth) {
    const std::lock_guard<std::recursive_mutex> lock(mutex);
    refusals[member] = nth;
}

bool refused(const std::string& member) {
    const std::lock_guard<std::recursive_mutex> lock(mutex);
    ++called[member];
    const auto refusal = refusals.find(member);
    if (refusal == refusals.end() || --refusal->second != 0) {
        return false;
    }
    refusals.erase(refusal);
    return true;
}

void break_gpu(cudaError_t status) {
    const std::lock_guard<std::recursive_mutex> lock(mutex);
    breaking = status;
}

int calls(const std::string& function) {
    const std::lock_guard<std::recursive_mutex> lock(mutex);
    const auto found = called.find(function);
    return found == called.end() ? 0 : found->second;
}

int at_work() {
    const std::lock_guard<std::recursive_mutex> lock(mutex);
    return waiting;
}

void count(const std::string& kind, int change) {
    const std::lock_guard<std::recursive_mutex> lock(mutex);
    living[kind] += change;
}

std::string alive() {
    const std::lock_guard<std::recursive_mutex> lock(mutex);
    std::string text;
    for (const auto& [kind, number] : living) {
        if (number != 0) {
            text += (text.empty() ? "" : ", ") + std::to_string(number) + " " + kind;
        }
    }
    return text;
}

void violation(const std::string& text) {
    const std::lock_guard<std::recursive_mutex> lock(mutex);
    violated.push_back(text);
}

std::vector<std::string> violations() {
    const std::lock_guard<std::recursive_mutex> lock(mutex);
    return violated;
}

void reset() {
    const std::lock_guard<std::recursive_mutex> lock(mutex);
    failures.clear();
    refusals.clear();
    called.clear();
    living.clear();
    violated.clear();
    lost = breaking = last_error = cudaSuccess;
    waiting = 0;
    current_device = 0;
    for (auto& stream : default_streams) {
        stream.reset();
    }
}

void* on_device(const void* pointer, std::size_t bytes) {
    const std::lock_guard<std::recursive_mutex> lock(mutex);
    auto* const address = const_cast<char*>(static_cast<const char*>(pointer));
    auto region = regions.upper_bound(address);
    if (region == regions.begin()) {
        return nullptr;
    }
    --region;
    const auto offset = static_cast<std::size_t>(address - region->first);
    if (offset > region->second.bytes || bytes > region->second.bytes - offset) {
        return nullptr;
    }
    return region->second.shadow + offset;
}

bool is_capturing(cudaStream_t stream) {
    const std::lock_guard<std::recursive_mutex> lock(mutex);
    return state_of(stream)->capturing;
}

Queued queue(cudaStream_t stream, bool capturable, Work work) {
    const std::lock_guard<std::recursive_mutex> lock(mutex);
    const std::shared_ptr<StreamState> state = state_of(stream);
    if (state->device != current_device) {
        last_error = cudaErrorInvalidResourceHandle;
        return Queued::wrong_device;
    }
    if (!state->capturing) {
        push(*state, std::move(work));
        return Queued::done;
    }
    if (!capturable) {
        state->capture_is_valid = false;
        return Queued::capture_refused;
    }
    state->captured.push_back(std::move(work));
    return Queued::done;
}

void write_device(void* pointer, const void* from, std::size_t bytes) {
    std::memcpy(on_device(pointer, bytes), from, bytes);
}

void read_device(void* to, const void* pointer, std::size_t bytes) {
    std::memcpy(to, on_device(pointer, bytes), bytes);
}

}  // namespace shim

extern "C" {

cudaError_t cudaGetDevice(int* device) {
    Call call("cudaGetDevice");
    *device = current_device;
    return call.gives();
}

cudaError_t cudaSetDevice(int device) {
    Call call("cudaSetDevice");
    if (call.fails()) {
        return call.gives();
    }
    if (device < 0 || device >= devices) {
        return call.gives(cudaErrorInvalidDevice);
    }
    current_device = device;
    return cudaSuccess;
}

cudaError_t cudaGetLastError() {
    const std::lock_guard<std::recursive_mutex> lock(mutex);
    return lost != cudaSuccess ? lost : std::exchange(last_error, cudaSuccess);
}

const char* cudaGetErrorName(cudaError_t error) {
    switch (error) {
        case cudaErrorMemoryAllocation:
            return "cudaErrorMemoryAllocation";
        case cudaErrorInvalidDevice:
            return "cudaErrorInvalidDevice";
        case cudaErrorInvalidResourceHandle:
            return "cudaErrorInvalidResourceHandle";
        case cudaErrorIllegalAddress:
            return "cudaErrorIllegalAddress";
        case cudaErrorLaunchFailure:
            return "cudaErrorLaunchFailure";
        case cudaErrorStreamCaptureUnsupported:
            return "cudaErrorStreamCaptureUnsupported";
        case cudaErrorStreamCaptureInvalidated:
            return "cudaErrorStreamCaptureInvalidated";
        default:
            return "cudaErrorInvalidValue";
    }
}

const char* cudaGetErrorString(cudaError_t) {
    return "as the shim says";
}

cudaError_t cudaMemGetInfo(std::size_t* free, std::size_t* total) {
    Call call("cudaMemGetInfo");
    std::size_t used = 0;
    for (const auto& [pointer, region] : regions) {
        used += region.device == current_device ? region.bytes : 0;
    }
    *free = device_bytes - used;
    *total = device_bytes;
    return call.gives();
}

cudaError_t cudaMalloc(void** pointer, std::size_t bytes) {
    Call call("cudaMalloc");
    if (call.fails()) {
        return call.gives();
    }
    if (forbidden_in_capture()) {
        return call.gives(cudaErrorStreamCaptureUnsupported);
    }
    std::size_t free = 0;
    std::size_t total = 0;
    cudaMemGetInfo(&free, &total);
    if (bytes > free) {
        return call.gives(cudaErrorMemoryAllocation);
    }
    // The same memory twice: what is given out cannot be touched, what the device uses can.
    const int file = memfd_create("device", 0);
    if (file < 0 || ftruncate(file, static_cast<off_t>(bytes)) != 0) {
        std::abort();
    }
    void* const given = mmap(nullptr, bytes, PROT_NONE, MAP_SHARED, file, 0);
    void* const shadow = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    close(file);
    if (given == MAP_FAILED || shadow == MAP_FAILED) {
        std::abort();
    }
    std::memset(shadow, 0xA5, bytes);  // not initialised, but the same each time
    regions[static_cast<char*>(given)] = {static_cast<char*>(shadow), bytes, current_device};
    shim::count("device memory", 1);
    *pointer = given;
    return cudaSuccess;
}

cudaError_t cudaFree(void* pointer) {
    Call call("cudaFree");
    const auto region = regions.find(static_cast<char*>(pointer));
    if (region == regions.end()) {
        shim::violation("cudaFree of what is no device memory");
        return call.gives(cudaErrorInvalidValue);
    }
    if (region->second.device != current_device) {
        shim::violation("cudaFree on another device");
    }
    munmap(region->first, region->second.bytes);
    munmap(region->second.shadow, region->second.bytes);
    regions.erase(region);
    shim::count("device memory", -1);
    return call.gives();
}

cudaError_t cudaHostAlloc(void** pointer, std::size_t bytes, unsigned int) {
    Call call("cudaHostAlloc");
    if (call.fails()) {
        return call.gives();
    }
    if (forbidden_in_capture()) {
        return call.gives(cudaErrorStreamCaptureUnsupported);
    }
    *pointer = std::malloc(bytes);
    std::memset(*pointer, 0x5A, bytes);
    pinned[*pointer] = bytes;
    shim::count("pinned memory", 1);
    return cudaSuccess;
}

cudaError_t cudaFreeHost(void* pointer) {
    Call call("cudaFreeHost");
    if (pinned.erase(pointer) == 0) {
        shim::violation("cudaFreeHost of what is no pinned memory");
        return call.gives(cudaErrorInvalidValue);
    }
    std::free(pointer);
    shim::count("pinned memory", -1);
    return call.gives();
}

cudaError_t cudaMemcpyAsync(void* to, const void* from, std::size_t bytes, cudaMemcpyKind kind, cudaStream_t stream) {
    Call call("cudaMemcpyAsync");
    if (call.fails()) {
        return call.gives();
    }
    const bool up = kind == cudaMemcpyHostToDevice;
    const Work copy = [=]() -> cudaError_t {
        void* const device = shim::on_device(up ? to : from, bytes);
        if (device == nullptr) {
            shim::violation("a copy of memory that is not on the device");
            return cudaErrorIllegalAddress;
        }
        const void* const host = up ? from : to;
        const auto owner = pinned.upper_bound(const_cast<void*>(host));
        const bool is_pinned =
            owner != pinned.begin() && static_cast<const char*>(std::prev(owner)->first) + std::prev(owner)->second >=
                                           static_cast<const char*>(host) + bytes;
        if (!is_pinned) {
            shim::violation("a copy of host memory that is not pinned, or not any more");
            return cudaErrorIllegalAddress;
        }
        std::memcpy(up ? device : to, up ? from : device, bytes);
        return cudaSuccess;
    };
    switch (shim::queue(stream, true, copy)) {
        case shim::Queued::done:
            return cudaSuccess;
        case shim::Queued::wrong_device:
            return call.gives(cudaErrorInvalidResourceHandle);
        case shim::Queued::capture_refused:
            break;
    }
    return call.gives(cudaErrorStreamCaptureInvalidated);
}

cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned int flags) {
    Call call("cudaStreamCreateWithFlags");
    if (call.fails()) {
        return call.gives();
    }
    if (flags != cudaStreamNonBlocking) {
        shim::violation("a stream that waits for the default stream");
    }
    *stream = new CUstream_st{std::make_shared<StreamState>()};
    (*stream)->state->device = current_device;
    shim::count("stream", 1);
    return cudaSuccess;
}

cudaError_t cudaStreamDestroy(cudaStream_t stream) {
    Call call("cudaStreamDestroy");
    run_until(*stream->state, stream->state->queued);  // what is queued is still done
    delete stream;
    shim::count("stream", -1);
    return call.gives();
}

cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
    Call call("cudaStreamSynchronize");
    if (call.fails()) {
        return call.gives();
    }
    if (forbidden_in_capture()) {
        return call.gives(cudaErrorStreamCaptureUnsupported);
    }
    const std::shared_ptr<StreamState> state = state_of(stream);
    run_until(*state, state->queued);
    return call.gives(lost);
}

cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned int) {
    Call call("cudaStreamWaitEvent");
    if (call.fails()) {
        return call.gives();
    }
    const std::shared_ptr<StreamState> state = state_of(stream);
    if (state->capturing) {
        state->capture_is_valid = false;
        return call.gives(cudaErrorStreamCaptureIsolation);
    }
    if (event->stream) {
        push(*state, [other = event->stream, position = event->position] {
            run_until(*other, position);
            return cudaSuccess;
        });
    }
    return cudaSuccess;
}

cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode) {
    Call call("cudaStreamBeginCapture");
    if (call.fails()) {
        return call.gives();
    }
    if (stream == nullptr) {
        return call.gives(cudaErrorStreamCaptureUnsupported);
    }
    StreamState& state = *stream->state;
    state.capturing = true;
    state.capture_is_valid = true;
    state.capturer = std::this_thread::get_id();
    state.captured.clear();
    captures.push_back(stream->state);
    return cudaSuccess;
}

cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t* graph) {
    Call call("cudaStreamEndCapture");
    StreamState& state = *stream->state;
    const bool was_valid = state.capturing && state.capture_is_valid;
    state.capturing = false;
    captures.erase(std::remove(captures.begin(), captures.end(), stream->state), captures.end());
    *graph = nullptr;
    if (call.fails() || !was_valid) {
        return call.gives(cudaErrorStreamCaptureInvalidated);
    }
    *graph = new CUgraph_st{std::move(state.captured)};
    shim::count("graph", 1);
    return cudaSuccess;
}

cudaError_t cudaStreamIsCapturing(cudaStream_t stream, cudaStreamCaptureStatus* status) {
    Call call("cudaStreamIsCapturing");
    *status = state_of(stream)->capturing ? cudaStreamCaptureStatusActive : cudaStreamCaptureStatusNone;
    return call.gives();
}

cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned int) {
    Call call("cudaEventCreateWithFlags");
    if (call.fails()) {
        return call.gives();
    }
    *event = new CUevent_st;
    shim::count("event", 1);
    return cudaSuccess;
}

cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream) {
    Call call("cudaEventRecord");
    if (call.fails()) {
        return call.gives();
    }
    event->stream = state_of(stream);
    event->position = event->stream->queued;
    return cudaSuccess;
}

cudaError_t cudaEventSynchronize(cudaEvent_t event) {
    Call call("cudaEventSynchronize");
    if (call.fails()) {
        return call.gives();
    }
    if (event->stream) {
        run_until(*event->stream, event->position);
    }
    return call.gives(lost);
}

cudaError_t cudaEventDestroy(cudaEvent_t event) {
    Call call("cudaEventDestroy");
    delete event;
    shim::count("event", -1);
    return call.gives();
}

cudaError_t cudaGraphInstantiateWithFlags(cudaGraphExec_t* executable, cudaGraph_t graph, unsigned long long) {
    Call call("cudaGraphInstantiateWithFlags");
    if (call.fails()) {
        return call.gives();
    }
    *executable = new CUgraphExec_st{std::make_shared<const std::vector<Work>>(graph->work)};
    shim::count("graph exec", 1);
    return cudaSuccess;
}

cudaError_t cudaGraphLaunch(cudaGraphExec_t graph, cudaStream_t stream) {
    Call call("cudaGraphLaunch");
    if (call.fails()) {
        return call.gives();
    }
    const std::shared_ptr<StreamState> state = state_of(stream);
    if (state->device != current_device) {
        return call.gives(cudaErrorInvalidResourceHandle);
    }
    push(*state, [work = graph->work] {
        for (const Work& step : *work) {
            if (const cudaError_t status = step(); status != cudaSuccess) {
                return status;
            }
        }
        return cudaSuccess;
    });
    return cudaSuccess;
}

cudaError_t cudaGraphExecDestroy(cudaGraphExec_t graph) {
    Call call("cudaGraphExecDestroy");
    delete graph;
    shim::count("graph exec", -1);
    return call.gives();
}

cudaError_t cudaGraphDestroy(cudaGraph_t graph) {
    Call call("cudaGraphDestroy");
    delete graph;
    shim::count("graph", -1);
    return call.gives();
}

}  // extern "C"
