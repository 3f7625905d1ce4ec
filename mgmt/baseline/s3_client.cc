// SPDX-License-Identifier: BSD-3-Clause
#include "mgmt/baseline/s3_client.h"

#include <openssl/evp.h>

#include <algorithm>
#include <cstring>
#include <random>

#include "mgmt/baseline/interruption.h"
#include "mgmt/baseline/s3_xml.h"

namespace lagan::baseline {

namespace {

using Clock = std::chrono::steady_clock;
using namespace std::chrono_literals;

constexpr auto kFirstPause = 50ms;
constexpr auto kLongestPause = 4000ms;
constexpr long kConnectTimeoutMs = 5000;
constexpr long kUploadBuffer = 1 << 20;
constexpr long kPartialContent = 206;
constexpr long kRangeNotSatisfiable = 416;
constexpr size_t kMaxTextBytes = 64U << 20;

// The payload's SHA-256 is part of the signature: a service refuses what was changed on the way, with TLS or
// not.
std::string sha256(std::span<const Bytes> body) {
    const std::unique_ptr<EVP_MD_CTX, decltype(&EVP_MD_CTX_free)> context(EVP_MD_CTX_new(), EVP_MD_CTX_free);
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned length = 0;
    bool good = context && EVP_DigestInit_ex(context.get(), EVP_sha256(), nullptr) == 1;
    for (const Bytes piece : body)
        good = good && EVP_DigestUpdate(context.get(), piece.data(), piece.size()) == 1;
    if (!good || EVP_DigestFinal_ex(context.get(), digest, &length) != 1)
        throw StoreError(ErrorKind::unavailable, "S3: SHA-256 failed");
    std::string text;
    char hex[3];
    for (unsigned i = 0; i < length; ++i) {
        std::snprintf(hex, sizeof hex, "%02x", digest[i]);
        text += hex;
    }
    return text;
}

// Pieces of memory as one stream for libcurl.
struct Upload {
    std::span<const Bytes> body;
    size_t piece = 0;
    size_t offset = 0;

    size_t read(char* to, size_t room) {
        size_t done = 0;
        while (done < room && piece < body.size()) {
            const Bytes rest = body[piece].subspan(offset);
            const size_t bytes = std::min(rest.size(), room - done);
            if (bytes > 0) std::memcpy(to + done, rest.data(), bytes);
            done += bytes;
            offset += bytes;
            if (offset == body[piece].size()) {
                ++piece;
                offset = 0;
            }
        }
        return done;
    }
};

size_t on_read(char* to, size_t size, size_t count, void* upload) {
    return static_cast<Upload*>(upload)->read(to, size * count);
}

// libcurl begins again when a connection that it kept turns out to be closed.
int on_seek(void* upload, curl_off_t offset, int origin) {
    if (offset != 0 || origin != SEEK_SET) return CURL_SEEKFUNC_CANTSEEK;
    auto* const stream = static_cast<Upload*>(upload);
    stream->piece = stream->offset = 0;
    return CURL_SEEKFUNC_OK;
}

bool worth_repeating(const S3Reply& reply) {
    if (reply.status == 408 || reply.status == 429 || reply.status >= 500) return reply.status != 507;
    if (reply.status != 400 && reply.status != 409) return false;
    const std::string code = xml_error(reply.text).code;
    return code == "RequestTimeout" || code == "XAmzContentSHA256Mismatch" || code == "BadDigest" ||
           code == "IncompleteBody" || code == "ConditionalRequestConflict" || code == "OperationAborted";
}

bool will_always_fail(CURLcode code) {
    return code == CURLE_PEER_FAILED_VERIFICATION || code == CURLE_SSL_CACERT_BADFILE ||
           code == CURLE_UNSUPPORTED_PROTOCOL || code == CURLE_URL_MALFORMAT || code == CURLE_OUT_OF_MEMORY ||
           code == CURLE_BAD_FUNCTION_ARGUMENT || code == CURLE_NOT_BUILT_IN;
}

}  // namespace

struct S3Client::Attempt {
    Attempt(const S3Request& sent, S3Reply& answer) : request(sent), reply(answer), upload{sent.body} {}
    ~Attempt() { curl_slist_free_all(headers); }
    Attempt(const Attempt&) = delete;
    Attempt& operator=(const Attempt&) = delete;

    void add_header(const std::string& line) {
        curl_slist* const longer = curl_slist_append(headers, line.c_str());
        if (longer == nullptr) throw std::bad_alloc();
        headers = longer;
    }
    static size_t on_body(char* data, size_t size, size_t count, void* self) {
        return static_cast<Attempt*>(self)->take(data, size * count) ? size * count : 0;
    }
    static size_t on_header(char* data, size_t size, size_t count, void* self) {
        const std::string_view line(data, size * count);
        constexpr std::string_view kEtag = "etag:";
        if (line.size() > kEtag.size() && strncasecmp(line.data(), kEtag.data(), kEtag.size()) == 0) {
            const size_t begin = line.find_first_not_of(" \t", kEtag.size());
            const size_t end = line.find_last_not_of(" \t\r\n");
            if (begin <= end) static_cast<Attempt*>(self)->reply.etag = line.substr(begin, end - begin + 1);
        }
        return line.size();
    }
    // Called about once a second when nothing comes. Anything but 0 ends the transfer.
    static int on_progress(void* self, curl_off_t, curl_off_t, curl_off_t, curl_off_t) {
        return static_cast<Attempt*>(self)->stop.stop_requested() ? 1 : 0;
    }
    bool take(const char* data, size_t bytes) {
        long status = 0;
        curl_easy_getinfo(handle, CURLINFO_RESPONSE_CODE, &status);
        if (status == kPartialContent) {
            if (bytes > request.into.size() - received) return false;
            std::memcpy(request.into.data() + received, data, bytes);
            received += bytes;
            return true;
        }
        if (reply.text.size() + bytes > kMaxTextBytes) return false;
        reply.text.append(data, bytes);
        return true;
    }

    const S3Request& request;
    S3Reply& reply;
    Upload upload;
    CURL* handle = nullptr;
    curl_slist* headers = nullptr;
    size_t received = 0;
    const std::stop_token stop = Interruption::current();
};

S3Client::S3Client(const StoreUrl& url, S3Credentials credentials)
    : url_(url), credentials_(std::move(credentials)), signature_("aws:amz:" + url.region + ":s3") {}

void S3Client::set_options(CURL* handle, const S3Request& request, Attempt& attempt) const {
    const auto set = [&](CURLoption option, auto value) {
        if (const CURLcode code = curl_easy_setopt(handle, option, value); code != CURLE_OK)
            throw StoreError(ErrorKind::invalid,
                             std::string("S3: libcurl refuses an option: ") + curl_easy_strerror(code));
    };
    const std::string target =
        url_.endpoint + request.path + (request.query.empty() ? "" : "?" + request.query);
    set(CURLOPT_URL, target.c_str());
    set(CURLOPT_PROTOCOLS_STR, "http,https");
    set(CURLOPT_NOSIGNAL, 1L);
    set(CURLOPT_AWS_SIGV4, signature_.c_str());
    set(CURLOPT_USERNAME, credentials_.access_key.c_str());
    set(CURLOPT_PASSWORD, credentials_.secret_key.c_str());
    set(CURLOPT_CONNECTTIMEOUT_MS,
        std::min<long>(kConnectTimeoutMs, static_cast<long>(url_.timeout.count()) * 1000));
    set(CURLOPT_LOW_SPEED_LIMIT, 1L);
    set(CURLOPT_LOW_SPEED_TIME, static_cast<long>(url_.timeout.count()));
    set(CURLOPT_NOPROGRESS, 0L);
    set(CURLOPT_XFERINFOFUNCTION, &Attempt::on_progress);
    set(CURLOPT_XFERINFODATA, &attempt);
    set(CURLOPT_QUICK_EXIT, 1L);  // a transfer that ends does not wait for a name server that does not answer
    if (!url_.ca_file.empty()) set(CURLOPT_CAINFO, url_.ca_file.c_str());
    set(CURLOPT_WRITEFUNCTION, &Attempt::on_body);
    set(CURLOPT_WRITEDATA, &attempt);
    set(CURLOPT_HEADERFUNCTION, &Attempt::on_header);
    set(CURLOPT_HEADERDATA, &attempt);
    set(CURLOPT_HTTPHEADER, attempt.headers);
    using Method = S3Request::Method;
    if (request.method == Method::head) set(CURLOPT_NOBODY, 1L);
    if (request.method == Method::remove) set(CURLOPT_CUSTOMREQUEST, "DELETE");
    if (request.method != Method::put && request.method != Method::post) return;
    set(CURLOPT_UPLOAD, 1L);
    if (request.method == Method::post) set(CURLOPT_CUSTOMREQUEST, "POST");
    set(CURLOPT_INFILESIZE_LARGE, static_cast<curl_off_t>(total_bytes(request.body)));
    set(CURLOPT_UPLOAD_BUFFERSIZE, kUploadBuffer);
    set(CURLOPT_READFUNCTION, &on_read);
    set(CURLOPT_READDATA, &attempt.upload);
    set(CURLOPT_SEEKFUNCTION, &on_seek);
    set(CURLOPT_SEEKDATA, &attempt.upload);
}

// Returns why there is no answer; empty if there is one.
std::string S3Client::send_once(CURL* handle, const S3Request& request, const std::string& hash,
                                S3Reply& reply) {
    Attempt attempt(request, reply);
    attempt.handle = handle;
    for (const std::string& header : request.headers)
        attempt.add_header(header);
    attempt.add_header("x-amz-content-sha256: " + hash);
    if (!credentials_.session_token.empty())
        attempt.add_header("x-amz-security-token: " + credentials_.session_token);
    set_options(handle, request, attempt);
    const CURLcode code = curl_easy_perform(handle);
    if (will_always_fail(code))
        throw StoreError(ErrorKind::refused, url_.text + ": " + curl_easy_strerror(code) + " (" +
                                                 url_.endpoint +
                                                 "): look at the endpoint and its certificate");
    if (code != CURLE_OK) return curl_easy_strerror(code);
    curl_easy_getinfo(handle, CURLINFO_RESPONSE_CODE, &reply.status);
    curl_off_t length = 0;
    curl_easy_getinfo(handle, CURLINFO_CONTENT_LENGTH_DOWNLOAD_T, &length);
    reply.content_length = length < 0 ? 0 : static_cast<uint64_t>(length);
    // Part of the range: the object ends there.
    if (reply.status == kPartialContent && attempt.received < request.into.size())
        reply.status = kRangeNotSatisfiable;
    return "";
}

S3Reply S3Client::send(const S3Request& request) {
    static thread_local std::minstd_rand random{std::random_device{}()};
    const std::string hash = sha256(request.body);
    const auto deadline = Clock::now() + url_.timeout;
    const std::stop_token stop = Interruption::current();
    bool repeated = false;
    for (auto pause = kFirstPause;; pause = std::min(2 * pause, kLongestPause)) {
        Interruption::check(url_.text);
        http::CurlHandles::Handle handle = handles_.take();
        S3Reply reply;
        const std::string problem = send_once(handle.get(), request, hash, reply);
        if (problem.empty()) handles_.give_back(std::move(handle));
        if (problem.empty() && !worth_repeating(reply)) {
            reply.repeated = repeated;
            return reply;
        }
        Interruption::check(url_.text);
        const auto wait = pause + std::chrono::milliseconds(random() % static_cast<uint64_t>(pause.count()));
        if (Clock::now() + wait > deadline) {
            if (problem.empty()) fail(reply, url_.text);
            throw StoreError(ErrorKind::unavailable, url_.text + ": no answer from " + url_.endpoint + ": " +
                                                         problem +
                                                         ": is the service up, and reachable from here?");
        }
        repeated = true;
        sleep_for(wait, stop);
    }
}

void S3Client::fail(const S3Reply& reply, const std::string& what) const {
    const XmlError error = xml_error(reply.text);
    std::string text = what + ": HTTP " + std::to_string(reply.status) +
                       (error.code.empty() ? "" : " " + error.code) +
                       (error.message.empty() ? "" : " (" + error.message + ")");
    ErrorKind kind = ErrorKind::invalid;
    if (error.code == "QuotaExceeded" || reply.status == 507) {
        kind = ErrorKind::no_space;
        text += ": make room there, or raise the quota";
    } else if (reply.status == 401 || reply.status == 403) {
        kind = ErrorKind::refused;
        text += ": look at the credentials, the bucket's policy and this machine's clock";
    } else if (reply.status == 404) {
        kind = ErrorKind::missing;
    } else if (reply.status == kRangeNotSatisfiable) {
        kind = ErrorKind::damaged;
        text += ": the object is too short";
    } else if (reply.status >= 300 && reply.status < 400) {
        text += ": the bucket is at another endpoint or region";
    } else if (reply.status == 408 || reply.status == 409 || reply.status == 429 || reply.status >= 500) {
        kind = ErrorKind::unavailable;
    }
    throw StoreError(kind, text);
}

std::string S3Client::escape(const std::string& text) {
    std::string result;
    for (const char c : text) {
        if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
            std::string_view("-._~").find(c) != std::string_view::npos) {
            result += c;
            continue;
        }
        char hex[4];
        std::snprintf(hex, sizeof hex, "%%%02X", static_cast<unsigned char>(c));
        result += hex;
    }
    return result;
}

}  // namespace lagan::baseline
