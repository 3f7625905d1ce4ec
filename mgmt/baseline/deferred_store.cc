// SPDX-License-Identifier: BSD-3-Clause
#include "mgmt/baseline/deferred_store.h"

namespace lagan::baseline {

ObjectStore& DeferredStore::open() {
    const Interruption until(stop_.get_token());
    std::unique_lock lock(mutex_);
    opened_.wait(lock, Interruption::current(), [this] { return !opening_; });
    Interruption::check(where());
    if (store_) return *store_;
    opening_ = true;
    lock.unlock();
    std::unique_ptr<ObjectStore> store;
    std::exception_ptr problem;
    try {
        store = open_store(url_);
    } catch (...) {
        problem = std::current_exception();
    }
    lock.lock();
    opening_ = false;
    opened_.notify_all();
    if (problem) std::rethrow_exception(problem);
    store_ = std::move(store);
    return *store_;
}

}  // namespace lagan::baseline
