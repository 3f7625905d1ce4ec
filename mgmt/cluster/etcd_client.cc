// SPDX-License-Identifier: BSD-3-Clause
#include "mgmt/cluster/etcd_client.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

namespace lagan::cluster {

using Kind = DirectoryError::Kind;
using nlohmann::json;

namespace {

constexpr size_t kMaxReplyBytes = 256U << 20;
constexpr int kResourceExhausted = 8;  // gRPC's codes
constexpr int kPermissionDenied = 7;
constexpr int kUnauthenticated = 16;

size_t on_body(char* data, size_t size, size_t count, void* text) {
    auto* const to = static_cast<std::string*>(text);
    if (to->size() + size * count > kMaxReplyBytes) return 0;
    to->append(data, size * count);
    return size * count;
}

// The request has not left this machine.
bool never_sent(CURLcode code) {
    return code == CURLE_COULDNT_CONNECT || code == CURLE_COULDNT_RESOLVE_HOST ||
           code == CURLE_SSL_CONNECT_ERROR || code == CURLE_PEER_FAILED_VERIFICATION;
}

bool is_set_up_wrongly(CURLcode code) {
    return code == CURLE_PEER_FAILED_VERIFICATION || code == CURLE_SSL_CACERT_BADFILE ||
           code == CURLE_SSL_CERTPROBLEM || code == CURLE_UNSUPPORTED_PROTOCOL || code == CURLE_URL_MALFORMAT;
}

// With TLS 1.3 a client whose certificate is refused takes itself for connected; then the connection ends.
bool may_be_mistrust(const std::string& url, CURLcode code) {
    return url.starts_with("https:") && (code == CURLE_SEND_ERROR || code == CURLE_RECV_ERROR ||
                                         code == CURLE_GOT_NOTHING || code == CURLE_SSL_CONNECT_ERROR);
}

}  // namespace

EtcdClient::EtcdClient(DirectoryOptions options) : options_(std::move(options)) {}

std::string EtcdClient::describe() const {
    return fmt::format("etcd at {}", fmt::join(options_.endpoints, ", "));
}

EtcdClient::Attempt EtcdClient::send(const std::string& url, const std::string& text) {
    http::CurlHandles::Handle handle = handles_.take();
    CURL* const curl = handle.get();
    const auto set = [&](CURLoption option, auto value) {
        if (const CURLcode code = curl_easy_setopt(curl, option, value); code != CURLE_OK)
            throw DirectoryError(Kind::refused, fmt::format("{}: {}", url, curl_easy_strerror(code)));
    };
    const auto timeout_ms = static_cast<long>(options_.timeout.count());
    Attempt attempt;
    set(CURLOPT_URL, url.c_str());
    set(CURLOPT_PROTOCOLS_STR, "http,https");
    set(CURLOPT_NOSIGNAL, 1L);
    set(CURLOPT_NOPROXY, "*");
    set(CURLOPT_CONNECTTIMEOUT_MS, timeout_ms);
    set(CURLOPT_TIMEOUT_MS, timeout_ms);
    set(CURLOPT_POSTFIELDSIZE_LARGE, static_cast<curl_off_t>(text.size()));
    set(CURLOPT_POSTFIELDS, text.c_str());
    set(CURLOPT_WRITEFUNCTION, &on_body);
    set(CURLOPT_WRITEDATA, &attempt.text);
    if (!options_.ca.empty()) set(CURLOPT_CAINFO, options_.ca.c_str());
    if (!options_.certificate.empty()) set(CURLOPT_SSLCERT, options_.certificate.c_str());
    if (!options_.key.empty()) set(CURLOPT_SSLKEY, options_.key.c_str());
    const CURLcode code = curl_easy_perform(curl);
    if (is_set_up_wrongly(code))
        throw DirectoryError(Kind::refused,
                             fmt::format("{}: {}: look at the endpoint, its certificate and the keys of "
                                         "[directory]",
                                         url, curl_easy_strerror(code)));
    if (code != CURLE_OK) {  // the connection goes with its handle
        attempt.problem = curl_easy_strerror(code);
        if (may_be_mistrust(url, code))
            attempt.problem += " (does etcd trust the certificate of [directory]?)";
        attempt.executed = !never_sent(code);
        return attempt;
    }
    curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &attempt.status);
    handles_.give_back(std::move(handle));
    return attempt;
}

EtcdClient::Answer EtcdClient::call(const std::string& path, const json& body) {
    const std::string text = body.dump();
    const size_t count = options_.endpoints.size();
    const size_t first = preferred_;
    bool repeated = false;
    std::string problems;
    for (size_t i = 0; i < count; ++i) {
        const size_t index = (first + i) % count;
        const std::string& endpoint = options_.endpoints[index];
        Attempt attempt = send(endpoint + path, text);
        const json answer = json::parse(attempt.text, nullptr, false);
        if (attempt.status == 200 && answer.is_object()) {
            preferred_ = index;
            return {.body = answer, .repeated = repeated};
        }
        if (attempt.status != 0) {
            const bool named = answer.is_object() && answer.contains("error") && answer["error"].is_string();
            attempt.problem = named ? answer["error"].get<std::string>()
                                    : fmt::format("HTTP {} without an answer of etcd's", attempt.status);
            const int grpc_code = named ? answer.value("code", 0) : 0;
            const std::string what = fmt::format("etcd at {}: {}", endpoint, attempt.problem);
            if (grpc_code == kResourceExhausted && attempt.problem.find("space") != std::string::npos)
                throw DirectoryError(Kind::no_space,
                                     what + ": compact and defragment it, or raise --quota-backend-bytes");
            if (grpc_code == kPermissionDenied || grpc_code == kUnauthenticated)
                throw DirectoryError(Kind::refused, what);
            if (attempt.status == 400 || attempt.status == 404)
                throw DirectoryError(attempt.status == 404 ? Kind::unavailable : Kind::refused, what);
        }
        repeated = repeated || attempt.executed;
        problems += fmt::format("{}{}: {}", problems.empty() ? "" : "; ", endpoint, attempt.problem);
    }
    throw DirectoryError(Kind::unavailable, "etcd does not answer: " + problems);
}

}  // namespace lagan::cluster
