// SPDX-License-Identifier: BSD-3-Clause
// Requests to etcd's JSON gateway (v3 API over HTTP), by libcurl. Any thread.
#pragma once

#include <curl/curl.h>

#include <atomic>
#include <string>

#include "mgmt/cluster/directory.h"
#include "mgmt/http/curl_handles.h"

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
    struct Attempt {
        long status = 0;  // HTTP; 0: none
        std::string text;
        std::string problem;
        bool executed = true;  // or may be
    };

    Attempt send(const std::string& url, const std::string& text);

    const DirectoryOptions options_;
    std::atomic<size_t> preferred_{0};
    http::CurlHandles handles_;
};

}  // namespace lagan::cluster
