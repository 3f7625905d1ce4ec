// SPDX-License-Identifier: BSD-3-Clause
// lagan.h over Session. No exception leaves it.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <exception>
#include <sstream>
#include <stdexcept>
#include <string>
#include <vector>

#include "client/include/lagan/lagan.h"
#include "client/target.h"

using namespace lagan::client;

static constexpr auto kNever = std::chrono::steady_clock::time_point::max();
// For what lagan_poll() may wait for an appliance that does not answer.
static constexpr std::chrono::milliseconds kPollPatience{250};

// Members in the order in which they depend on each other.
struct lagan_region {
    std::chrono::steady_clock::time_point give_back = kNever;  // when the caller wants its thread back
    std::unique_ptr<Target> target;
    std::unique_ptr<Session> session;
    mutable std::string error;
};

namespace {

lagan_status to_status(CompletionStatus status, const Session& session) {
    switch (status) {
        case CompletionStatus::success:
            return LAGAN_OK;
        case CompletionStatus::remote_access_error:
            return LAGAN_ACCESS;
        case CompletionStatus::remote_invalid_request:
            return LAGAN_INVALID;
        case CompletionStatus::remote_operational_error:
            return LAGAN_NO_FRAMES;
        case CompletionStatus::retry_exceeded:
        case CompletionStatus::rnr_retry_exceeded:
        case CompletionStatus::flushed:
            break;
    }
    return session.rolled_back() ? LAGAN_ROLLED_BACK : LAGAN_LOST;
}

// The C side sees no exception: running out of memory is all that can be thrown once a session is up.
template <typename Call>
lagan_status guarded(lagan_region* region, Call&& call) {
    try {
        return call(*region->session);
    } catch (const std::exception& error) {
        region->error = error.what();
        return LAGAN_LOST;
    }
}

lagan_status accepted(const Session& session, bool posted) {
    if (posted) return LAGAN_OK;
    if (session.connected()) return LAGAN_BUSY;
    return session.rolled_back() ? LAGAN_ROLLED_BACK : LAGAN_LOST;
}

std::string text_of(const char* text) {
    return text != nullptr ? text : "";
}

std::vector<std::string> split(const std::string& text) {
    std::vector<std::string> parts;
    std::istringstream from(text);
    for (std::string part; std::getline(from, part, ',');)
        parts.push_back(part);
    return parts;
}

TargetOptions managed(const lagan_manager& manager, const char* region) {
    TargetOptions options;
    const std::string interface = text_of(manager.interface);
    options.fabric = interface.empty() ? FabricKind::verbs : FabricKind::dpdk;
    options.manager = {.urls = split(text_of(manager.urls)),
                       .token_file = text_of(manager.token_file),
                       .ca = text_of(manager.ca_file)};
    if (options.manager.urls.empty()) throw std::runtime_error("no manager is named");
    options.on_roll_back = manager.continue_after_rollback != 0 ? OnRollBack::go_on : OnRollBack::stop;
    options.own_port = {.interface = interface, .address = text_of(manager.local_address)};
    options.region = region;
    return options;
}

// Null on failure; the reason goes to `error`.
template <typename Options>
lagan_region* opened(Options&& options, lagan_role role, char* error, size_t error_bytes) {
    try {
        auto region = std::make_unique<lagan_region>();
        TargetOptions all = options();
        all.may_reconnect = true;
        all.reconnect.interrupted = [waiting = region.get()] {
            return std::chrono::steady_clock::now() >= waiting->give_back;
        };
        region->target = std::make_unique<Target>(std::move(all));
        region->session =
            region->target->connect(role == LAGAN_READ ? lagan::Role::read : lagan::Role::write);
        return region.release();
    } catch (const std::exception& failure) {
        if (error != nullptr && error_bytes != 0)
            *fmt::format_to_n(error, error_bytes - 1, "{}", failure.what()).out = 0;
        return nullptr;
    }
}

}  // namespace

extern "C" {

lagan_region* lagan_open(const char* appliance_socket, const char* region, lagan_role role, char* error,
                         size_t error_bytes) {
    const auto options = [&] {
        return TargetOptions{.appliance = appliance_socket != nullptr ? appliance_socket : kDefaultAppliance,
                             .region = region};
    };
    return opened(options, role, error, error_bytes);
}

lagan_region* lagan_open_verbs(const char* address, const void* grant, char* error, size_t error_bytes) {
    const auto* bytes = static_cast<const uint8_t*>(grant);
    const auto options = [&] {
        return TargetOptions{.fabric = FabricKind::verbs,
                             .address = address,
                             .grant = std::vector<uint8_t>(bytes, bytes + LAGAN_GRANT_BYTES)};
    };
    return opened(options, LAGAN_WRITE, error, error_bytes);
}

lagan_region* lagan_open_managed(const lagan_manager* manager, const char* region, lagan_role role,
                                 char* error, size_t error_bytes) {
    return opened([&] { return managed(*manager, region); }, role, error, error_bytes);
}

lagan_status lagan_register(lagan_region* region, void* memory, size_t bytes) {
    return guarded(region, [=](Session& s) {
        s.register_memory(std::span(static_cast<std::byte*>(memory), bytes));
        return LAGAN_OK;
    });
}

void lagan_reconnect(lagan_region* region, unsigned seconds) {
    region->session->set_reconnect_limit(std::chrono::seconds(seconds));
}

void lagan_close(lagan_region* region) {
    if (region == nullptr) return;
    try {
        region->session->disconnect();
    } catch (const std::exception&) {  // nobody is left to tell
    }
    delete region;
}

uint64_t lagan_size(const lagan_region* region) {
    return region->session->size_bytes();
}

const char* lagan_error(const lagan_region* region) {
    if (!region->session->connected()) region->error = region->session->failure();
    return region->error.c_str();
}

lagan_status lagan_read(lagan_region* region, uint64_t offset, void* to, uint64_t bytes) {
    return guarded(region, [=](Session& s) { return to_status(s.read_blocking(offset, to, bytes), s); });
}

lagan_status lagan_store(lagan_region* region, uint64_t first_page, const void* from, uint64_t pages) {
    return guarded(region,
                   [=](Session& s) { return to_status(s.store_blocking(first_page, from, pages), s); });
}

lagan_status lagan_free(lagan_region* region, uint64_t first_page, uint64_t pages) {
    return guarded(region, [=](Session& s) { return to_status(s.free_blocking(first_page, pages), s); });
}

lagan_status lagan_post_read(lagan_region* region, uint64_t cookie, uint64_t offset, void* to,
                             uint32_t bytes) {
    return guarded(region, [=](Session& s) { return accepted(s, s.read(cookie, offset, to, bytes)); });
}

lagan_status lagan_post_store(lagan_region* region, uint64_t cookie, uint64_t page, const void* from) {
    return guarded(region, [=](Session& s) { return accepted(s, s.store_page(cookie, page, from)); });
}

lagan_status lagan_post_free(lagan_region* region, uint64_t cookie, uint64_t first_page, uint32_t pages) {
    return guarded(region, [=](Session& s) { return accepted(s, s.free_pages(cookie, first_page, pages)); });
}

size_t lagan_poll(lagan_region* region, lagan_completion* completions, size_t count) {
    std::array<Completion, 64> found;
    size_t filled = 0;
    region->give_back = std::chrono::steady_clock::now() + kPollPatience;
    guarded(region, [&](Session& s) {
        filled = s.poll(std::span(found).first(std::min(count, found.size())));
        return LAGAN_OK;
    });
    region->give_back = kNever;
    for (size_t i = 0; i < filled; i++)
        completions[i] = {found[i].cookie, to_status(found[i].status, *region->session)};
    return filled;
}

}  // extern "C"
