// SPDX-License-Identifier: BSD-3-Clause
#include "mgmt/baseline/deferred_store.h"

namespace lagan::baseline {

ObjectStore& DeferredStore::open() {
    const std::scoped_lock lock(mutex_);
    if (!store_) store_ = open_store(url_);
    return *store_;
}

}  // namespace lagan::baseline
