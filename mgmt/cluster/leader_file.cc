// SPDX-License-Identifier: BSD-3-Clause
#include "mgmt/cluster/leader_file.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <ctime>
#include <fstream>
#include <thread>

#include "mgmt/cluster/directory.h"

namespace lagan::cluster {

using Kind = DirectoryError::Kind;
using nlohmann::json;
using namespace std::chrono_literals;

namespace {

constexpr auto kWaitForLock = 1s;
constexpr size_t kMaxBytes = 4096;

// Counts time in suspend too: a leader that slept has slept through its time.
uint64_t boot_clock_ms() {
    timespec now{};
    clock_gettime(CLOCK_BOOTTIME, &now);
    return static_cast<uint64_t>(now.tv_sec) * 1000 + static_cast<uint64_t>(now.tv_nsec) / 1'000'000;
}

std::string boot_id() {
    std::ifstream stream("/proc/sys/kernel/random/boot_id");
    std::string id;
    stream >> id;
    return id;
}

struct State {
    std::string holder;
    std::string boot;
    uint64_t until_ms = 0;
    bool readable = true;

    bool leads(uint64_t now_ms) const { return boot == boot_id() && now_ms < until_ms; }
};

// The file, locked as long as this lives.
class Locked {
  public:
    explicit Locked(const std::filesystem::path& file) : file_(file) {
        fd_ = ::open(file.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
        if (fd_ < 0) fail(errno == ENOSPC ? Kind::no_space : Kind::refused, std::strerror(errno));
        // Whoever holds it has a few instructions to go; a process that was stopped in there keeps it.
        const auto deadline = std::chrono::steady_clock::now() + kWaitForLock;
        while (flock(fd_, LOCK_EX | LOCK_NB) != 0) {
            if (std::chrono::steady_clock::now() > deadline) {
                close(fd_);
                fail(Kind::unavailable, "another process holds its lock");
            }
            std::this_thread::sleep_for(1ms);
        }
    }
    ~Locked() { close(fd_); }
    Locked(const Locked&) = delete;
    Locked& operator=(const Locked&) = delete;

    State read() const {
        std::array<char, kMaxBytes> bytes;
        const ssize_t count = pread(fd_, bytes.data(), bytes.size(), 0);
        if (count < 0) fail(Kind::unavailable, std::strerror(errno));
        if (count == 0) return {};
        try {
            const json value = json::parse(bytes.data(), bytes.data() + count);
            return {.holder = value.at("holder"), .boot = value.at("boot"), .until_ms = value.at("until_ms")};
        } catch (const json::exception&) {
            return {.readable = false};
        }
    }
    void write(const std::string& holder, uint64_t until_ms) const {
        std::string text =
            json({{"holder", holder}, {"boot", boot_id()}, {"until_ms", until_ms}}).dump() + "\n";
        if (text.size() > kMaxBytes) fail(Kind::refused, "the candidate's name is too long");
        text.resize(kMaxBytes, ' ');  // one length always: no shorter text in front of an older one's end
        const ssize_t count = pwrite(fd_, text.data(), text.size(), 0);
        if (count == static_cast<ssize_t>(text.size())) return;
        fail(count >= 0 || errno == ENOSPC ? Kind::no_space : Kind::unavailable,
             count >= 0 ? "no space" : std::strerror(errno));
    }

  private:
    [[noreturn]] void fail(Kind kind, const std::string& why) const {
        throw DirectoryError(kind, file_.string() + ": cannot say who leads: " + why);
    }

    const std::filesystem::path& file_;
    int fd_ = -1;
};

}  // namespace

bool LeaderFile::campaign(const std::string& candidate, std::chrono::milliseconds ttl) {
    const Locked file(file_);
    const State state = file.read();
    const uint64_t now_ms = boot_clock_ms();
    const uint64_t until_ms = now_ms + static_cast<uint64_t>(ttl.count());
    if (!state.readable) {
        // Somebody may lead by what stood there: let that time pass.
        file.write("", until_ms);
        return false;
    }
    if (state.leads(now_ms) && state.holder != candidate) return false;
    file.write(candidate, until_ms);
    return true;
}

std::string LeaderFile::leader() {
    const Locked file(file_);
    const State state = file.read();
    return state.leads(boot_clock_ms()) ? state.holder : "";
}

void LeaderFile::resign(const std::string& candidate) {
    const Locked file(file_);
    const State state = file.read();
    if (state.readable && state.holder == candidate) file.write("", 0);
}

}  // namespace lagan::cluster
