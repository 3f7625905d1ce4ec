// SPDX-License-Identifier: BSD-3-Clause
#include "mgmt/baseline/rados_store.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <deque>
#include <set>
#include <utility>

#include "mgmt/baseline/interruption.h"

namespace lagan::baseline {

namespace {

constexpr uint64_t kOperationBytes = 4U << 20;
constexpr size_t kOperationsInFlight = 4;  // per object
constexpr std::chrono::seconds kListPatience{3};

ErrorKind kind_of(int error) {
    switch (error) {
        case ENOENT:
            return ErrorKind::missing;
        case ENOSPC:
        case EDQUOT:
            return ErrorKind::no_space;
        case EACCES:
        case EPERM:
        case EKEYREJECTED:
            return ErrorKind::refused;
        case EINVAL:
        case EFBIG:
        case ENAMETOOLONG:
        case E2BIG:
            return ErrorKind::invalid;
        default:
            return ErrorKind::unavailable;
    }
}

const char* advice(ErrorKind kind) {
    switch (kind) {
        case ErrorKind::no_space:
            return ": add room to the pool, or raise its quota";
        case ErrorKind::refused:
            return ": look at the user's key and capabilities";
        case ErrorKind::unavailable:
            return ": are the monitors and OSDs up, and reachable from here?";
        default:
            return "";
    }
}

// An Interruption cancels the operation, which completes then like any other: librados has done with its
// memory when this returns.
void wait_for(rados_ioctx_t context, rados_completion_t completion) {
    const std::stop_callback cancel(Interruption::current(), [&] { rados_aio_cancel(context, completion); });
    rados_aio_wait_for_complete(completion);
}

struct ReleaseCompletion {
    void operator()(void* completion) const { rados_aio_release(completion); }
};

// Starts one operation and waits for it. The result, as librados's synchronous calls have it.
template <typename Start>
int run(rados_ioctx_t context, const Start& start) {
    rados_completion_t completion = nullptr;
    if (const int error = rados_aio_create_completion2(nullptr, nullptr, &completion); error < 0)
        return error;
    const std::unique_ptr<void, ReleaseCompletion> owner(completion);
    if (const int error = start(completion); error < 0) return error;
    wait_for(context, completion);
    return rados_aio_get_return_value(completion);
}

// Completions that are waited for before the memory that they use goes.
class Operations {
  public:
    explicit Operations(rados_ioctx_t context) : context_(context) {}
    ~Operations() { finish(); }
    Operations(const Operations&) = delete;
    Operations& operator=(const Operations&) = delete;

    rados_completion_t begin() {
        if (waiting_.size() >= kOperationsInFlight) wait_for_one();
        rados_completion_t completion = nullptr;
        if (const int error = rados_aio_create_completion2(nullptr, nullptr, &completion); error < 0)
            return note(error), nullptr;
        waiting_.push_back(completion);
        return completion;
    }
    void note(int result) {
        if (result < 0 && error_ == 0) error_ = -result;
    }
    // The operation that begin() was called for was not sent after all.
    void forget_last() {
        rados_aio_release(waiting_.back());
        waiting_.pop_back();
    }
    int error() const { return error_; }
    int finish() {
        while (!waiting_.empty())
            wait_for_one();
        return error_;
    }

  private:
    void wait_for_one() {
        wait_for(context_, waiting_.front());
        note(rados_aio_get_return_value(waiting_.front()));
        rados_aio_release(waiting_.front());
        waiting_.pop_front();
    }
    const rados_ioctx_t context_;
    std::deque<rados_completion_t> waiting_;
    int error_ = 0;
};

struct ReleaseWriteOp {
    void operator()(void* op) const { rados_release_write_op(op); }
};
using WriteOp = std::unique_ptr<void, ReleaseWriteOp>;

}  // namespace

class RadosStore::Context {
  public:
    explicit Context(rados_ioctx_t context) : context_(context) {}
    ~Context() {
        if (context_ != nullptr) rados_ioctx_destroy(context_);
    }
    Context(Context&& other) noexcept : context_(std::exchange(other.context_, nullptr)) {}
    rados_ioctx_t get() const { return context_; }

  private:
    rados_ioctx_t context_;
};

RadosStore::RadosStore(const StoreUrl& url)
    : url_(url), cluster_(connect(url.timeout)), for_lists_(connect(std::min(url.timeout, kListPatience))) {
    open(cluster_, "");
}

RadosStore::Cluster RadosStore::connect(std::chrono::seconds operation_timeout) const {
    const auto check = [&](int result, const std::string& what) {
        if (result < 0) fail(-result, what, "");
    };
    rados_t made = nullptr;
    check(rados_create2(&made, "ceph", url_.user.c_str(), 0), "cannot start librados for");
    Cluster cluster(made);
    check(rados_conf_read_file(made, url_.conf_file.c_str()),
          "cannot read " + url_.conf_file.string() + " for");
    // Without these an operation waits for ever.
    const auto limit = [&](const char* name, std::chrono::seconds time) {
        check(rados_conf_set(made, name, std::to_string(time.count()).c_str()), "cannot set a timeout for");
    };
    limit("client_mount_timeout", url_.timeout);
    limit("rados_mon_op_timeout", url_.timeout);
    limit("rados_osd_op_timeout", operation_timeout);
    check(rados_connect(made), "cannot connect to the cluster of");
    return cluster;
}

void RadosStore::fail(int error, const std::string& what, const std::string& key) const {
    Interruption::check(url_.text);
    const ErrorKind kind = kind_of(error);
    throw StoreError(kind, "baseline store: " + what + " " + url_.text + (key.empty() ? "" : "/" + key) +
                               ": " + std::strerror(error) + advice(kind));
}

RadosStore::Context RadosStore::open(const Cluster& cluster, const std::string& name_space) const {
    rados_ioctx_t context = nullptr;
    const int result = rados_ioctx_create(cluster.get(), url_.container.c_str(), &context);
    if (result == -ENOENT)
        throw StoreError(ErrorKind::missing, "baseline store " + url_.text + ": no pool '" + url_.container +
                                                 "': create it, or correct the URL");
    if (result < 0) fail(-result, "cannot open the pool of", "");
    rados_ioctx_set_namespace(context, name_space.c_str());
    return Context(context);
}

RadosStore::Context RadosStore::open_of(const Cluster& cluster, const std::string& key,
                                        std::string* name) const {
    const size_t slash = key.find('/');
    if (slash == key.npos) fail(EINVAL, "no folder in the name", key);
    *name = key.substr(slash + 1);
    return open(cluster, url_.prefix + key.substr(0, slash));
}

void RadosStore::put(const std::string& key, std::span<const Bytes> content) {
    std::string name;
    const Context context = open_of(cluster_, key, &name);
    Operations operations(context.get());  // librados copies what it is given before rados_aio_* returns
    std::vector<char> buffer;
    buffer.reserve(kOperationBytes);
    uint64_t offset = 0;
    const auto flush = [&] {
        rados_completion_t completion = operations.begin();
        if (completion == nullptr) return;
        const WriteOp op(rados_create_write_op());
        rados_write_op_write(op.get(), buffer.data(), buffer.size(), offset);
        const int result =
            rados_aio_write_op_operate(op.get(), context.get(), completion, name.c_str(), nullptr,
                                       LIBRADOS_OPERATION_FULL_TRY);  // an error, not a wait
        if (result < 0) {
            operations.note(result);
            operations.forget_last();
        }
        offset += buffer.size();
        buffer.clear();
    };
    for (Bytes piece : content) {
        while (!piece.empty() && operations.error() == 0) {
            const size_t bytes = std::min<size_t>(piece.size(), kOperationBytes - buffer.size());
            const char* from = reinterpret_cast<const char*>(piece.data());
            buffer.insert(buffer.end(), from, from + bytes);
            piece = piece.subspan(bytes);
            if (buffer.size() == kOperationBytes) flush();
        }
    }
    if (!buffer.empty() || offset == 0) flush();
    if (const int error = operations.finish(); error != 0) fail(error, "cannot write", key);
}

bool RadosStore::put_exclusive(const std::string& key, Bytes content) {
    std::string name;
    const Context context = open_of(cluster_, key, &name);
    const WriteOp op(rados_create_write_op());
    rados_write_op_create(op.get(), LIBRADOS_CREATE_EXCLUSIVE, nullptr);
    rados_write_op_write_full(op.get(), reinterpret_cast<const char*>(content.data()), content.size());
    const int result = run(context.get(), [&](rados_completion_t completion) {
        return rados_aio_write_op_operate(op.get(), context.get(), completion, name.c_str(), nullptr,
                                          LIBRADOS_OPERATION_FULL_TRY);
    });
    if (result == -EEXIST) return false;
    if (result < 0) fail(-result, "cannot create", key);
    return true;
}

void RadosStore::get(const std::string& key, uint64_t offset, std::span<std::byte> to) {
    std::string name;
    const Context context = open_of(cluster_, key, &name);
    while (!to.empty()) {
        const size_t bytes = std::min<size_t>(to.size(), kOperationBytes);
        const int result = run(context.get(), [&](rados_completion_t completion) {
            return rados_aio_read(context.get(), name.c_str(), completion, reinterpret_cast<char*>(to.data()),
                                  bytes, offset);
        });
        if (result == -EIO)  // no replica has it whole
            throw StoreError(ErrorKind::damaged, url_.text + "/" + key + " cannot be read: I/O error");
        if (result < 0) fail(-result, "cannot read", key);
        if (result == 0) throw StoreError(ErrorKind::damaged, url_.text + "/" + key + " is too short");
        offset += static_cast<uint64_t>(result);
        to = to.subspan(static_cast<size_t>(result));
    }
}

uint64_t RadosStore::size_bytes(const std::string& key) {
    std::string name;
    const Context context = open_of(cluster_, key, &name);
    uint64_t bytes = 0;
    time_t modified = 0;
    const int result = run(context.get(), [&](rados_completion_t completion) {
        return rados_aio_stat(context.get(), name.c_str(), completion, &bytes, &modified);
    });
    if (result < 0) fail(-result, "cannot look at", key);
    return bytes;
}

namespace {

// Calls use(name, namespace) for all objects of the context's namespace; returns 0 or an errno value. A
// request that is not answered is repeated, where the cursor is, for as long as the timeout says.
template <typename Use>
int for_each_object(rados_ioctx_t context, std::chrono::seconds timeout, const Use& use) {
    rados_list_ctx_t cursor = nullptr;
    if (const int result = rados_nobjects_list_open(context, &cursor); result < 0) return -result;
    int result = 0;
    auto answered = std::chrono::steady_clock::now();
    for (;;) {
        const char* name = nullptr;
        const char* name_space = nullptr;
        result = rados_nobjects_list_next(cursor, &name, nullptr, &name_space);
        if (Interruption::current().stop_requested()) {
            result = -ECANCELED;
            break;
        }
        const auto now = std::chrono::steady_clock::now();
        if (result == -ETIMEDOUT && now - answered < timeout) continue;
        if (result < 0) break;
        answered = now;
        use(std::string(name), std::string(name_space == nullptr ? "" : name_space));
    }
    rados_nobjects_list_close(cursor);
    return result == -ENOENT ? 0 : -result;
}

}  // namespace

std::vector<std::string> RadosStore::list(const std::string& prefix) {
    std::string wanted;
    const Context context = open_of(for_lists_, prefix, &wanted);
    const std::string folder = prefix.substr(0, prefix.find('/') + 1);
    std::vector<std::string> keys;
    const auto take = [&](const std::string& name, const std::string&) {
        if (name.starts_with(wanted)) keys.push_back(folder + name);
    };
    const int error = for_each_object(context.get(), url_.timeout, take);
    if (error != 0) fail(error, "cannot list", prefix);
    std::sort(keys.begin(), keys.end());
    return keys;
}

std::vector<std::string> RadosStore::folders() {
    const Context context = open(for_lists_, LIBRADOS_ALL_NSPACES);
    std::set<std::string> names;
    const auto take = [&](const std::string&, const std::string& name_space) {
        if (name_space.size() > url_.prefix.size() && name_space.starts_with(url_.prefix) &&
            name_space.find('/', url_.prefix.size()) == name_space.npos)
            names.insert(name_space.substr(url_.prefix.size()));
    };
    const int error = for_each_object(context.get(), url_.timeout, take);
    if (error != 0) fail(error, "cannot list", "");
    return {names.begin(), names.end()};
}

void RadosStore::remove(const std::string& key) {
    std::string name;
    const Context context = open_of(cluster_, key, &name);
    const int result = run(context.get(), [&](rados_completion_t completion) {
        return rados_aio_remove(context.get(), name.c_str(), completion);
    });
    if (result < 0 && result != -ENOENT) fail(-result, "cannot remove", key);
}

}  // namespace lagan::baseline
