// SPDX-License-Identifier: BSD-3-Clause
// A store that is opened when it is first needed, and again as long as that fails: an appliance must start,
// and serve its regions, while its store is away.
#pragma once

#include <condition_variable>
#include <memory>
#include <mutex>

#include "mgmt/baseline/interruptible_store.h"
#include "mgmt/baseline/store_url.h"

namespace lagan::baseline {

class DeferredStore final : public InterruptibleStore {
  public:
    explicit DeferredStore(StoreUrl url) : url_(std::move(url)) {}

    // Throws as open_store() does. All other functions call it first.
    ObjectStore& open();

    // Any thread. Ends what is under way, opening too, as Interruption says; all that is asked for later
    // fails.
    void stop() { stop_.request_stop(); }

    const std::string& where() const override { return url_.text; }

  private:
    std::stop_token token() const override { return stop_.get_token(); }
    ObjectStore& target() override { return open(); }

    const StoreUrl url_;
    std::stop_source stop_;
    std::mutex mutex_;
    std::condition_variable_any opened_;
    bool opening_ = false;                // under mutex_: by one thread; others wait for it
    std::unique_ptr<ObjectStore> store_;  // under mutex_ until it is there; then constant
};

}  // namespace lagan::baseline
