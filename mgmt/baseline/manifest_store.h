// SPDX-License-Identifier: BSD-3-Clause
// Manifests in a store.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "mgmt/baseline/manifest.h"
#include "mgmt/baseline/object_store.h"

namespace lagan::baseline {

// Numbers of a region's manifests, newest first.
std::vector<uint64_t> manifest_numbers(ObjectStore& store, const std::string& region);

// Throws StoreError: missing, damaged, invalid (a newer version), unavailable; the text has the whole name.
Manifest read_manifest(ObjectStore& store, const std::string& region, uint64_t number);

}  // namespace lagan::baseline
