// SPDX-License-Identifier: BSD-3-Clause
#include "mgmt/baseline/manifest_store.h"

#include <algorithm>

namespace lagan::baseline {

namespace {

constexpr uint64_t kMaxManifestBytes = 1U << 30;

}

std::vector<uint64_t> manifest_numbers(ObjectStore& store, const std::string& region) {
    std::vector<uint64_t> numbers;
    for (const std::string& key : store.list(manifest_folder(region)))
        if (uint64_t number = 0; parse_manifest_key(key, &number)) numbers.push_back(number);
    std::sort(numbers.rbegin(), numbers.rend());
    return numbers;
}

Manifest read_manifest(ObjectStore& store, const std::string& region, uint64_t number) {
    const std::string key = manifest_key(region, number);
    const uint64_t bytes = store.size_bytes(key);
    if (bytes > kMaxManifestBytes)
        throw StoreError(ErrorKind::damaged,
                         "manifest " + store.where() + "/" + key + ": too large to be one");
    std::string text(bytes, '\0');
    store.get(key, 0, std::as_writable_bytes(std::span(text)));
    try {
        return decode_manifest(text, key);
    } catch (const StoreError& error) {
        throw StoreError(error.kind(), store.where() + ": " + error.what());
    }
}

}  // namespace lagan::baseline
