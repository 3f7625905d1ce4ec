// SPDX-License-Identifier: BSD-3-Clause
#include "mgmt/baseline/claim.h"

#include <random>
#include <string>
#include <utility>
#include <vector>

#include "mgmt/baseline/manifest_store.h"

namespace lagan::baseline {

namespace {

constexpr int kAttempts = 16;  // each lost one means that another writer's was won

std::string hex(uint64_t value) {
    char text[20];
    std::snprintf(text, sizeof text, "%016lx", value);
    return text;
}

// The newest manifest that can be read, and the newest older one of an earlier cut.
struct Found {
    std::optional<Manifest> newest;
    std::optional<Manifest> previous;
};

Found find(ObjectStore& store, const std::string& region, const std::vector<uint64_t>& numbers,
           bool over_damaged) {
    Found found;
    for (const uint64_t number : numbers) {
        try {
            Manifest manifest = read_manifest(store, region, number);
            if (!found.newest)
                found.newest = std::move(manifest);
            else if (manifest.cut_number < found.newest->cut_number)
                found.previous = std::move(manifest);
            if (found.previous) break;
        } catch (const StoreError& error) {
            const bool is_newest = number == numbers.front();
            if (error.kind() == ErrorKind::damaged && is_newest && !over_damaged)
                throw StoreError(
                    ErrorKind::damaged,
                    std::string(error.what()) + ": restore an older cut, or let the checkpoint start over");
            if (error.kind() == ErrorKind::damaged || (error.kind() == ErrorKind::missing && !is_newest))
                continue;
            throw;
        }
    }
    return found;
}

void check(const ObjectStore& store, const RegionIdentity& region, const RegionIdentity& there) {
    const auto refuse = [&](const std::string& why) {
        throw StoreError(ErrorKind::refused, store.where() + ": the baseline " + region.name + " " + why);
    };
    if (there.uid != region.uid || there.name != region.name)
        refuse("is of another region (" + there.name + ", uid " + hex(there.uid) + ", ours has " +
               hex(region.uid) +
               "): remove it if that region is gone for good, or name the region or the store otherwise");
    if (there.size_bytes != region.size_bytes)
        refuse("is of a region of " + std::to_string(there.size_bytes) + " bytes, and ours has " +
               std::to_string(region.size_bytes));
    if (there.epoch > region.epoch)
        refuse("has epoch " + std::to_string(there.epoch) + ", ours is " + std::to_string(region.epoch) +
               ": the region has moved to another appliance; this copy of it is stale");
    if (there.epoch == region.epoch && there.writer != region.writer)
        refuse("is written by another appliance (" + hex(there.writer) + ") in the same epoch " +
               std::to_string(there.epoch) + ": only one of two may have the region; delete the other one");
}

}  // namespace

uint64_t new_session() {
    std::random_device random;
    return uint64_t{random()} << 32 | random();
}

Claim claim(ObjectStore& store, const RegionIdentity& region, uint64_t session, bool over_damaged) {
    for (int attempt = 0; attempt < kAttempts; ++attempt) {
        const std::vector<uint64_t> numbers = manifest_numbers(store, region.name);
        Found found;
        try {
            found = find(store, region.name, numbers, over_damaged);
        } catch (const StoreError& error) {
            if (error.kind() == ErrorKind::missing) continue;  // another writer has removed it: look again
            throw;
        }
        if (found.newest) check(store, region, found.newest->region);
        Manifest mine = found.newest.value_or(Manifest{});
        mine.number = (numbers.empty() ? 0 : numbers.front()) + 1;
        mine.session = session;
        mine.region = region;
        const std::string text = encode(mine);
        if (!store.put_exclusive(manifest_key(region.name, mine.number), std::as_bytes(std::span(text))))
            continue;
        Claim claim{std::move(mine), std::move(found.previous), {numbers.begin(), numbers.end()}};
        claim.manifests.insert(claim.newest.number);
        return claim;
    }
    throw StoreError(ErrorKind::refused, store.where() + ": the baseline " + region.name +
                                             " is claimed by other writers again and again");
}

}  // namespace lagan::baseline
