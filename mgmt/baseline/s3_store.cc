// SPDX-License-Identifier: BSD-3-Clause
#include "mgmt/baseline/s3_store.h"

#include <ctime>

#include "mgmt/baseline/s3_xml.h"

namespace lagan::baseline {

namespace {

using Method = S3Request::Method;

constexpr const char* kProbe = "lagan-probe";  // not below a region's folder
constexpr long kOk = 200;
constexpr long kNoContent = 204;
constexpr long kPartialContent = 206;
constexpr long kNotFound = 404;
constexpr long kPreconditionFailed = 412;

// "2026-11-23T00:13:02.000Z"; 0 if it is something else.
time_t time_of(const std::string& iso) {
    std::tm fields{};
    return strptime(iso.c_str(), "%Y-%m-%dT%H:%M:%S", &fields) == nullptr ? 0 : timegm(&fields);
}

}  // namespace

S3Store::S3Store(const StoreUrl& url) : url_(url), client_(url, load_credentials(url.credentials_file)) {
    const S3Reply reply =
        client_.send({Method::get, "/" + url_.container, "list-type=2&max-keys=1", {}, {}, {}});
    if (reply.status == kOk) return;
    if (reply.status == kNotFound)
        throw StoreError(ErrorKind::missing, url_.text + ": no bucket '" + url_.container + "' at " +
                                                 url_.endpoint + ": create it, or correct the URL");
    fail(reply, "cannot open the bucket", "");
}

void S3Store::fail(const S3Reply& reply, const std::string& what, const std::string& key) const {
    client_.fail(reply, "baseline store " + url_.text + ": " + what + (key.empty() ? "" : " " + key));
}

std::string S3Store::path_of(const std::string& key) const {
    return "/" + url_.container + "/" + url_.prefix + key;
}

S3Reply S3Store::put_object(const std::string& key, std::span<const Bytes> content,
                            std::vector<std::string> headers) {
    headers.emplace_back("Content-Type: application/octet-stream");
    return client_.send({Method::put, path_of(key), "", std::move(headers), content, {}});
}

void S3Store::put(const std::string& key, std::span<const Bytes> content) {
    if (total_bytes(content) > url_.part_bytes) {
        put_parts(key, content);
        return;
    }
    const S3Reply reply = put_object(key, content);
    if (reply.status != kOk) fail(reply, "cannot write", key);
}

void S3Store::put_parts(const std::string& key, std::span<const Bytes> content) {
    const S3Reply begun = client_.send({Method::post, path_of(key), "uploads=", {}, {}, {}});
    const std::string upload = begun.status == kOk ? xml_text(begun.text, "UploadId") : "";
    if (upload.empty()) fail(begun, "cannot begin the upload of", key);
    try {
        std::vector<std::string> etags;
        std::vector<Bytes> part;
        size_t piece = 0;
        size_t offset = 0;
        while (piece < content.size()) {
            part.clear();
            for (uint64_t room = url_.part_bytes; room > 0 && piece < content.size();) {
                const Bytes rest = content[piece].subspan(offset);
                part.push_back(rest.first(std::min<uint64_t>(rest.size(), room)));
                room -= part.back().size();
                offset += part.back().size();
                if (offset == content[piece].size()) {
                    ++piece;
                    offset = 0;
                }
            }
            const std::string query =
                "partNumber=" + std::to_string(etags.size() + 1) + "&uploadId=" + S3Client::escape(upload);
            const S3Reply reply = client_.send({Method::put, path_of(key), query, {}, part, {}});
            if (reply.status != kOk || reply.etag.empty()) fail(reply, "cannot write a part of", key);
            etags.push_back(reply.etag);
        }
        complete(key, upload, etags, total_bytes(content));
    } catch (...) {
        abort_upload(key, upload);
        throw;
    }
}

void S3Store::complete(const std::string& key, const std::string& upload,
                       const std::vector<std::string>& etags, uint64_t bytes) {
    std::string xml = "<CompleteMultipartUpload>";
    for (size_t i = 0; i < etags.size(); ++i)
        xml += "<Part><PartNumber>" + std::to_string(i + 1) + "</PartNumber><ETag>" + etags[i] +
               "</ETag></Part>";
    xml += "</CompleteMultipartUpload>";
    const Bytes body = std::as_bytes(std::span(xml));
    const S3Reply reply = client_.send({Method::post,
                                        path_of(key),
                                        "uploadId=" + S3Client::escape(upload),
                                        {"Content-Type: application/xml"},
                                        {&body, 1},
                                        {}});
    // A service may say 200 first and that it failed afterwards.
    if (reply.status == kOk && xml_error(reply.text).code.empty()) return;
    // The answer to an earlier attempt was lost: the upload is complete and gone.
    if (reply.repeated && reply.status == kNotFound && size_bytes(key) == bytes) return;
    fail(reply, "cannot complete the upload of", key);
}

// An upload that stays is removed by remove_unfinished() one day.
void S3Store::abort_upload(const std::string& key, const std::string& upload) {
    try {
        client_.send({Method::remove, path_of(key), "uploadId=" + S3Client::escape(upload), {}, {}, {}});
    } catch (const StoreError&) {
    }
}

// Two writers of one manifest must not both believe that it is theirs.
void S3Store::require_conditional_writes() {
    const Bytes nothing;
    for (int i = 0; i < 2; ++i) {
        const S3Reply reply = put_object(kProbe, {&nothing, 1}, {"If-None-Match: *"});
        if (reply.status == kPreconditionFailed) return;
        if (reply.status != kOk) fail(reply, "cannot write", kProbe);
    }
    throw StoreError(ErrorKind::refused,
                     "baseline store " + url_.text +
                         ": this S3 service ignores If-None-Match, so that two appliances could "
                         "overwrite each other's manifests: use another service or engine");
}

bool S3Store::put_exclusive(const std::string& key, Bytes content) {
    std::call_once(conditional_writes_, [this] { require_conditional_writes(); });
    const S3Reply reply = put_object(key, {&content, 1}, {"If-None-Match: *"});
    if (reply.status == kPreconditionFailed) return false;
    if (reply.status != kOk) fail(reply, "cannot create", key);
    return true;
}

void S3Store::get(const std::string& key, uint64_t offset, std::span<std::byte> to) {
    if (to.empty()) return;
    const std::string range =
        "Range: bytes=" + std::to_string(offset) + "-" + std::to_string(offset + to.size() - 1);
    const S3Reply reply = client_.send({Method::get, path_of(key), "", {range}, {}, to});
    if (reply.status != kPartialContent) fail(reply, "cannot read", key);
}

uint64_t S3Store::size_bytes(const std::string& key) {
    const S3Reply reply = client_.send({Method::head, path_of(key), "", {}, {}, {}});
    if (reply.status != kOk) fail(reply, "cannot look at", key);
    return reply.content_length;
}

std::vector<std::string> S3Store::list(const std::string& prefix) {
    std::vector<std::string> keys;
    std::string token;
    do {
        const std::string query =
            (token.empty() ? "" : "continuation-token=" + S3Client::escape(token) + "&") +
            std::string("list-type=2&prefix=") + S3Client::escape(url_.prefix + prefix);
        const S3Reply reply = client_.send({Method::get, "/" + url_.container, query, {}, {}, {}});
        if (reply.status != kOk) fail(reply, "cannot list", prefix);
        XmlListing listing = xml_listing(reply.text);
        for (const std::string& key : listing.keys)
            keys.push_back(key.substr(url_.prefix.size()));
        token = std::move(listing.next);
    } while (!token.empty());
    return keys;
}

std::vector<std::string> S3Store::folders() {
    std::vector<std::string> names;
    std::string token;
    do {
        const std::string query =
            (token.empty() ? "" : "continuation-token=" + S3Client::escape(token) + "&") +
            std::string("delimiter=%2F&list-type=2&prefix=") + S3Client::escape(url_.prefix);
        const S3Reply reply = client_.send({Method::get, "/" + url_.container, query, {}, {}, {}});
        if (reply.status != kOk) fail(reply, "cannot list", "");
        XmlListing listing = xml_listing(reply.text);
        for (const std::string& folder : listing.prefixes)
            names.push_back(folder.substr(url_.prefix.size(), folder.size() - url_.prefix.size() - 1));
        token = std::move(listing.next);
    } while (!token.empty());
    return names;
}

void S3Store::remove(const std::string& key) {
    const S3Reply reply = client_.send({Method::remove, path_of(key), "", {}, {}, {}});
    if (reply.status != kNoContent && reply.status != kOk && reply.status != kNotFound)
        fail(reply, "cannot remove", key);
}

void S3Store::remove_unfinished(const std::string& folder, std::chrono::seconds age) {
    const time_t before = time(nullptr) - age.count();
    std::string after;
    std::string after_id;
    do {
        const std::string query = (after.empty() ? "" : "key-marker=" + S3Client::escape(after) + "&") +
                                  "prefix=" + S3Client::escape(url_.prefix + folder) +
                                  (after.empty() ? "" : "&upload-id-marker=" + S3Client::escape(after_id)) +
                                  "&uploads=";
        const S3Reply reply = client_.send({Method::get, "/" + url_.container, query, {}, {}, {}});
        if (reply.status != kOk) fail(reply, "cannot list the uploads of", folder);
        XmlUploads listing = xml_uploads(reply.text);
        for (const XmlUploads::Upload& upload : listing.uploads)
            if (const time_t begun = time_of(upload.initiated); begun != 0 && begun <= before)
                abort_upload(upload.key.substr(url_.prefix.size()), upload.id);
        after = std::move(listing.next_key);
        after_id = std::move(listing.next_id);
    } while (!after.empty());
}

}  // namespace lagan::baseline
