// SPDX-License-Identifier: BSD-3-Clause
// libcurl's handles, each with its connections, for clients of others' services (S3, etcd) whose requests
// come from many threads: whoever needs one takes one that is idle, or a new one.
#pragma once

#include <curl/curl.h>

#include <memory>
#include <mutex>
#include <new>
#include <stdexcept>
#include <utility>
#include <vector>

namespace lagan::http {

// Any thread.
class CurlHandles {
  public:
    struct Cleanup {
        void operator()(CURL* handle) const { curl_easy_cleanup(handle); }
    };
    using Handle = std::unique_ptr<CURL, Cleanup>;

    // Throws std::runtime_error when libcurl cannot be used at all.
    CurlHandles() {
        static const CURLcode started = curl_global_init(CURL_GLOBAL_DEFAULT);
        if (started != CURLE_OK) throw std::runtime_error("libcurl does not start");
    }

    // Options of the request before are gone, its connection is not.
    Handle take() {
        {
            const std::lock_guard lock(mutex_);
            if (!idle_.empty()) {
                Handle handle = std::move(idle_.back());
                idle_.pop_back();
                curl_easy_reset(handle.get());
                return handle;
            }
        }
        Handle handle(curl_easy_init());
        if (!handle) throw std::bad_alloc();
        return handle;
    }
    // One whose request failed is not given back: its connection goes with it.
    void give_back(Handle handle) {
        const std::lock_guard lock(mutex_);
        idle_.push_back(std::move(handle));
    }

  private:
    std::mutex mutex_;
    std::vector<Handle> idle_;  // under mutex_
};

}  // namespace lagan::http
