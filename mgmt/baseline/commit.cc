// SPDX-License-Identifier: BSD-3-Clause
// From written segments to a new manifest.
#include <algorithm>
#include <utility>

#include "mgmt/baseline/attempt.h"
#include "mgmt/baseline/baseline_writer.h"
#include "mgmt/baseline/manifest_store.h"

namespace lagan::baseline {

CommitResult BaselineWriter::commit(std::span<const SegmentRef> segments, uint64_t cut_number,
                                    uint64_t cut_time_us) {
    CommitResult result;
    settle_unknown();
    if (!publish_again(segments, cut_number)) {
        if (cut_number < newest_.cut_number)
            throw StoreError(ErrorKind::invalid,
                             "baseline: cut " + std::to_string(cut_number) + " of region " + region_.name +
                                 " is older than the stored cut " + std::to_string(newest_.cut_number));
        Attempt attempt(state_);
        add(attempt, segments);
        attempt.drop_dead();
        compact(attempt);
        Manifest next = next_manifest(cut_number, cut_time_us);
        publish(next, segments);
        attempt.done();
        adopt(std::move(next), segments);
        result = std::move(attempt.result);
    }
    result.losses = std::exchange(untold_losses_, {});
    result.manifest_number = newest_.number;
    {
        const std::lock_guard lock(mutex_);
        ++commits_;
    }
    const std::string problem = clean_up(&result.removed_segments);
    if (!problem.empty()) result.cleanup_problem = problem;
    return result;
}

void BaselineWriter::add(Attempt& attempt, std::span<const SegmentRef> segments) {
    for (const SegmentRef& ref : segments) {
        const std::lock_guard lock(mutex_);
        const auto pending = pending_.find(ref.id);
        if (pending == pending_.end()) {
            const auto same = [&](const SegmentRef& each) { return each.id == ref.id; };
            if (std::any_of(newest_.segments.begin(), newest_.segments.end(), same)) continue;
            throw StoreError(ErrorKind::invalid,
                             "baseline: segment " + segment_key(region_.name, ref.id) +
                                 " is not one that this writer has written since the last commit");
        }
        attempt.add(ref, pending->second);
        attempt.new_data_pages += ref.data_pages;
    }
}

Manifest BaselineWriter::next_manifest(uint64_t cut_number, uint64_t cut_time_us) const {
    Manifest next{newest_.number + 1, session_, region_, cut_number, cut_time_us, {}};
    next.segments.reserve(state_.segments.size());
    for (const auto& [ordinal, ref] : state_.segments)
        next.segments.push_back(ref);
    return next;
}

// Returns if `next` is durable and the newest manifest in the store, and throws if it is not, or if that is
// not known.
void BaselineWriter::publish(const Manifest& next, std::span<const SegmentRef> segments) {
    const std::string text = encode(next);
    unknown_ = Unknown{next, {segments.begin(), segments.end()}};  // whatever error comes: it may be there
    if (!store_.put_exclusive(manifest_key(region_.name, next.number), std::as_bytes(std::span(text)))) {
        const Manifest there = read_manifest(store_, region_.name, next.number);
        if (there.session != session_) {
            unknown_.reset();
            throw StoreError(ErrorKind::refused, store_.where() + ": the baseline " + region_.name +
                                                     " was claimed by another writer (epoch " +
                                                     std::to_string(there.region.epoch) + ", ours is " +
                                                     std::to_string(region_.epoch) +
                                                     "): this one is at its end");
        }
        // It may even be this one: it is there, but whether it is durable is not known.
        throw StoreError(ErrorKind::unavailable, store_.where() + ": an earlier commit of region " +
                                                     region_.name + " has arrived late: commit again");
    }
    refuse_if_superseded(next.number);
    unknown_.reset();
}

// A number that could be had is not the newest for that: another writer may have removed the manifest that
// once had it.
void BaselineWriter::refuse_if_superseded(uint64_t number) {
    const std::vector<uint64_t> numbers = manifest_numbers(store_, region_.name);
    if (numbers.empty() || numbers.front() <= number) return;
    store_.remove(manifest_key(region_.name, number));
    unknown_.reset();
    throw StoreError(ErrorKind::refused,
                     store_.where() + ": the baseline " + region_.name +
                         " was claimed by another writer, which has made newer manifests (ours has "
                         "epoch " +
                         std::to_string(region_.epoch) + "): this one is at its end");
}

// `segments` are those that were committed: compaction may have replaced some of them already.
void BaselineWriter::adopt(Manifest next, std::span<const SegmentRef> segments) {
    const std::lock_guard lock(mutex_);
    manifests_.insert(next.number);
    for (const SegmentRef& ref : segments)
        pending_.erase(ref.id);
    if (next.cut_number != newest_.cut_number) previous_ = std::move(newest_);
    newest_ = std::move(next);
}

// An earlier commit failed: looks whether its manifest is there all the same. What is found is what readers
// see, so it is the base of what comes next; that it can be seen does not make it durable.
void BaselineWriter::settle_unknown() {
    if (!unknown_) return;
    Manifest there;
    try {
        there = read_manifest(store_, region_.name, unknown_->manifest.number);
    } catch (const StoreError& error) {
        if (error.kind() != ErrorKind::missing) throw;
        unknown_.reset();
        return;
    }
    if (there.session == session_) {
        refuse_if_superseded(there.number);
        // An earlier one than the last may have arrived late.
        doubtful_ = there == unknown_->manifest ? unknown_->segments : there.segments;
        adopt(std::move(there), *doubtful_);
        load_state();
    }
    unknown_.reset();  // another writer's: publish() will meet it
}

// The newest manifest was found after its commit had failed, say, because its folder could not be synced. No
// later sync tells what a failed one has lost, so the same cut is written once more, under the next number.
// True if that is all that was to be committed.
bool BaselineWriter::publish_again(std::span<const SegmentRef> segments, uint64_t cut_number) {
    if (!doubtful_) return false;
    Manifest again = newest_;
    ++again.number;
    publish(again, *doubtful_);
    const std::vector<SegmentRef> committed = *std::exchange(doubtful_, std::nullopt);
    adopt(std::move(again), committed);
    const auto is_committed = [&](const SegmentRef& ref) {
        return std::any_of(committed.begin(), committed.end(),
                           [&](const SegmentRef& each) { return each.id == ref.id; });
    };
    return newest_.cut_number == cut_number && std::all_of(segments.begin(), segments.end(), is_committed);
}

}  // namespace lagan::baseline
