// SPDX-License-Identifier: BSD-3-Clause
// How an operator names a baseline store: one URL.
//
//   /path or file:///path
//   s3://BUCKET[/PREFIX]?endpoint=http://HOST:PORT[&region=NAME][&credentials=FILE][&part_mib=N][&ca=FILE]
//   rados://POOL[/PREFIX][?conf=FILE][&user=client.NAME]
//
// Both s3 and rados take timeout=SECONDS: how long an answer is waited for. A value may hold %XX.
// S3 credentials never stand in the URL: they come from a file (two lines "access_key = ..." and
// "secret_key = ...", readable by its owner only) or from the environment (AWS_ACCESS_KEY_ID,
// AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN).
#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>

#include "mgmt/baseline/object_store.h"

namespace lagan::baseline {

struct StoreUrl {
    enum class Engine : uint8_t { directory, s3, rados };
    Engine engine = Engine::directory;
    std::string text;  // without options: for messages

    std::filesystem::path directory;

    std::string container;  // s3: bucket; rados: pool
    std::string prefix;     // "" or "a/b/": before every key
    std::chrono::seconds timeout{20};

    std::string endpoint;  // s3: "http://host:port", no slash at the end
    std::string region = "us-east-1";
    std::filesystem::path credentials_file;  // s3; empty: environment
    std::filesystem::path ca_file;           // s3; empty: the system's
    uint64_t part_bytes = 16U << 20;         // s3: larger objects are uploaded in parts of this size

    std::filesystem::path conf_file = "/etc/ceph/ceph.conf";  // rados
    std::string user = "client.admin";                        // rados
};

// Throws StoreError (invalid), which says what is wrong with the text.
StoreUrl parse_store_url(const std::string& text);

// Connects, and checks that the store can be reached: a directory is made if only its last component is
// missing; a bucket or pool must exist. Throws StoreError. An Interruption of the caller ends it.
std::unique_ptr<ObjectStore> open_store(const StoreUrl& url);
inline std::unique_ptr<ObjectStore> open_store(const std::string& url) {
    return open_store(parse_store_url(url));
}

}  // namespace lagan::baseline
