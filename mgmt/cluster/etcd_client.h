// SPDX-License-Identifier: BSD-3-Clause
// Requests to etcd's JSON gateway (v3 API over HTTP), by libcurl. Any thread.
#pragma once

#include <curl/curl.h>

#include <atomic>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "mgmt/cluster/directory.h"

namespace lagan::cluster {

class EtcdClient {
  public:
    explicit EtcdClient(DirectoryOptions options);

    struct Answer {
        nlohmann::json body;
        // An earlier attempt, at another endpoint, got no answer and may have been carried out, or may yet
        // be.
        bool repeated = false;
    };
    // Tries each endpoint once, first the one that answered last. `path` is "/v3/kv/range". Throws
    // DirectoryError.
    Answer call(const std::string& path, const nlohmann::json& body);

    std::string describe() const;

  private:
    struct Cleanup {
        void operator()(CURL* handle) const { curl_easy_cleanup(handle); }
    };
    using Handle = std::unique_ptr<CURL, Cleanup>;
    struct Attempt {
        long status = 0;  // HTTP; 0: none
        std::string text;
        std::string problem;
        bool executed = true;  // or may be
    };

    Handle take_handle();
    void give_back(Handle handle);
    Attempt send(const std::string& url, const std::string& text);

    const DirectoryOptions options_;
    std::atomic<size_t> preferred_{0};
    std::mutex mutex_;
    std::vector<Handle> idle_;  // under mutex_
};

}  // namespace lagan::cluster
