// SPDX-License-Identifier: BSD-3-Clause
// Objects in a bucket of an S3 service.
//
// Requests address the bucket by path (http://host/bucket/key), and are signed by Signature V4 with the
// payload's SHA-256. Objects larger than StoreUrl::part_bytes are uploaded in parts. Exclusive creation is a
// PUT with "If-None-Match: *"; a service that ignores it is found out before the first one, and refused.
#pragma once

#include <mutex>

#include "mgmt/baseline/object_store.h"
#include "mgmt/baseline/s3_client.h"

namespace lagan::baseline {

class S3Store final : public ObjectStore {
  public:
    // Checks that the bucket is there.
    explicit S3Store(const StoreUrl& url);

    void put(const std::string& key, std::span<const Bytes> content) override;
    bool put_exclusive(const std::string& key, Bytes content) override;
    void get(const std::string& key, uint64_t offset, std::span<std::byte> to) override;
    uint64_t size_bytes(const std::string& key) override;
    std::vector<std::string> list(const std::string& prefix) override;
    std::vector<std::string> folders() override;
    void remove(const std::string& key) override;
    void remove_unfinished(const std::string& folder, std::chrono::seconds age) override;
    const std::string& where() const override { return url_.text; }

  private:
    std::string path_of(const std::string& key) const;
    S3Reply put_object(const std::string& key, std::span<const Bytes> content,
                       std::vector<std::string> headers = {});
    void put_parts(const std::string& key, std::span<const Bytes> content);
    void complete(const std::string& key, const std::string& upload, const std::vector<std::string>& etags,
                  uint64_t bytes);
    void abort_upload(const std::string& key, const std::string& upload);
    void require_conditional_writes();
    [[noreturn]] void fail(const S3Reply& reply, const std::string& what, const std::string& key) const;

    const StoreUrl url_;
    S3Client client_;
    std::once_flag conditional_writes_;
};

}  // namespace lagan::baseline
