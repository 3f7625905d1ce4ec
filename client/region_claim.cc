// SPDX-License-Identifier: BSD-3-Clause
// The claim is a random number in the last page, one bit in two words: of words 2i and 2i + 1 the second is
// marked if bit i is set, and the first if not. Marks are only ever added. Who has made all of its own reads
// the page, and has the region if there is no other mark. Of two different claims each has a mark that the
// other has not, so whoever reads last sees both: never do both get the region.
#include "client/region_claim.h"

#include <fmt/format.h>

#include <array>
#include <random>
#include <stdexcept>

namespace lagan::client {

namespace {

constexpr size_t kBits = 64;
constexpr uint64_t kMark = ~0ULL;
using ClaimPage = std::array<uint64_t, 4096 / sizeof(uint64_t)>;

void check(const Session& session, CompletionStatus status, const char* what) {
    if (status == CompletionStatus::success) return;
    throw std::runtime_error(fmt::format("{} the region failed: {}", what,
                                         session.connected() ? to_string(status) : session.failure()));
}

// Someone's data, or those of a run that still goes on.
void check_empty(Session& session) {
    const Session::DirtyCounts counts = session.dirty_counts_blocking();
    check(session, counts.status, "asking what is in");
    if (counts.present_pages == 0) return;
    throw std::runtime_error(fmt::format(
        "the region (id {}) is in use: it holds {} pages, of a run that goes on, or of one that was "
        "killed. lagan run takes an empty one, and empties it at the end; delete it and make it "
        "again if nobody needs them",
        session.region().region_id, counts.present_pages));
}

// All that are marked in `claim`.
void store_marks(Session& session, uint64_t base, const ClaimPage& claim) {
    Completion found[kBits];
    for (size_t word = 0; word < claim.size(); word++) {
        if (claim[word] == 0) continue;
        while (!session.store(word, base + word * sizeof kMark, &kMark, sizeof kMark)) {
            if (!session.connected()) check(session, CompletionStatus::flushed, "claiming");
            for (size_t n = session.poll(found); n > 0; n--)
                check(session, found[n - 1].status, "claiming");
        }
    }
    while (session.outstanding() != 0) {
        for (size_t n = session.poll(found); n > 0; n--)
            check(session, found[n - 1].status, "claiming");
    }
}

}  // namespace

void claim_region(Session& session) {
    if (session.page_count() <= kClaimPages)
        throw std::runtime_error("the region is too small: one page is needed to claim it");
    check_empty(session);
    std::random_device random;
    const uint64_t number = uint64_t{random()} << 32 | random();
    ClaimPage claim{}, page{};
    for (size_t bit = 0; bit < kBits; bit++)
        claim[2 * bit + (number >> bit & 1)] = kMark;
    const uint64_t base = (session.page_count() - kClaimPages) * sizeof claim;
    store_marks(session, base, claim);
    check(session, session.read_blocking(base, page.data(), sizeof page), "reading");
    if (page != claim)
        throw std::runtime_error(fmt::format(
            "the region (id {}) is in use: another run has started at the same moment. If that has "
            "ended as well, delete the region and make it again",
            session.region().region_id));
}

}  // namespace lagan::client
