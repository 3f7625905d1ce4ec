// SPDX-License-Identifier: BSD-3-Clause
// Claiming a baseline: a copy of its newest manifest, with our epoch and session, becomes the newest one.
// From then on nobody who opened the baseline before can commit, and nothing that its cut needs is removed.
#pragma once

#include <cstdint>
#include <optional>
#include <set>

#include "mgmt/baseline/manifest.h"
#include "mgmt/baseline/object_store.h"

namespace lagan::baseline {

struct Claim {
    Manifest newest;                   // ours
    std::optional<Manifest> previous;  // the newest of an earlier cut
    std::set<uint64_t> manifests;      // numbers that are in the store
};

// Names one opening of a baseline; random.
uint64_t new_session();

// Only manifests are looked at, no segments. `over_damaged`: when the newest one cannot be read, the newest
// that can is taken, or, without any, the empty cut 0. Throws StoreError:
//   refused  a newer epoch, another writer at this epoch, another region's uid or size
//   damaged  the newest manifest, without `over_damaged`
//   invalid  written by a newer version
Claim claim(ObjectStore& store, const RegionIdentity& region, uint64_t session, bool over_damaged);

}  // namespace lagan::baseline
