// SPDX-License-Identifier: BSD-3-Clause
// Signed requests to an S3 service, by libcurl, repeated as long as that makes sense.
#pragma once

#include <curl/curl.h>

#include <chrono>
#include <span>
#include <string>
#include <vector>

#include "mgmt/baseline/object_store.h"
#include "mgmt/baseline/s3_credentials.h"
#include "mgmt/baseline/store_url.h"
#include "mgmt/http/curl_handles.h"

namespace lagan::baseline {

struct S3Request {
    enum class Method : uint8_t { get, head, put, post, remove };
    Method method = Method::get;
    std::string path;   // "/bucket/key", of characters that need no escapes
    std::string query;  // "a=1&b=2", sorted by name and escaped: it is signed as it stands
    std::vector<std::string> headers;
    std::span<const Bytes> body;  // put, post
    std::span<std::byte> into;    // get: where a reply with status 206 goes, which must fill it exactly
};

struct S3Reply {
    long status = 0;
    std::string text;  // the body, but for what went into S3Request::into
    std::string etag;
    uint64_t content_length = 0;
    // Whether an earlier attempt got no answer, and may have been executed.
    bool repeated = false;
};

// Thread-safe; keeps one connection per concurrent caller.
class S3Client {
  public:
    S3Client(const StoreUrl& url, S3Credentials credentials);

    // Sends it until there is an answer that repeating would not change, waiting longer each time, by chance
    // up to twice as long, so that many clients do not come back at once. Throws StoreError::unavailable when
    // the store's timeout has passed, or an Interruption ends it.
    S3Reply send(const S3Request& request);

    // Throws what an answer that was not hoped for means. `what` begins the message.
    [[noreturn]] void fail(const S3Reply& reply, const std::string& what) const;

    static std::string escape(const std::string& text);  // for a query

  private:
    struct Attempt;

    std::string send_once(CURL* handle, const S3Request& request, const std::string& hash, S3Reply& reply);
    void set_options(CURL* handle, const S3Request& request, Attempt& attempt) const;

    const StoreUrl url_;
    const S3Credentials credentials_;
    const std::string signature_;  // CURLOPT_AWS_SIGV4
    http::CurlHandles handles_;
};

}  // namespace lagan::baseline
