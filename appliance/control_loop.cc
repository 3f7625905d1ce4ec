// SPDX-License-Identifier: BSD-3-Clause
#include "appliance/control_loop.h"

#include <poll.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <stdexcept>
#include <system_error>
#include <thread>

#include "appliance/log.h"
#include "appliance/tidier.h"

namespace lagan::appliance {

namespace {

using Clock = std::chrono::steady_clock;
using namespace std::chrono_literals;

constexpr int kTickMs = 1;  // punted packets wait in a ring that cannot wake anybody
constexpr auto kCloseWithin = 1s;

uint64_t now_us() {
    return static_cast<uint64_t>(
        std::chrono::duration_cast<std::chrono::microseconds>(Clock::now().time_since_epoch()).count());
}

void serve_packets(Appliance& a) {
    a.binding->serve(*a.control_plane, now_us());
}

// A descriptor from which the two signals can be read.
class EndSignals {
  public:
    EndSignals() {
        sigset_t signals;
        sigemptyset(&signals);
        sigaddset(&signals, SIGTERM);
        sigaddset(&signals, SIGINT);
        fd_ = signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK);
        if (fd_ < 0) throw std::system_error(errno, std::generic_category(), "cannot make a signalfd");
    }
    ~EndSignals() { close(fd_); }
    EndSignals(const EndSignals&) = delete;
    EndSignals& operator=(const EndSignals&) = delete;

    int fd() const { return fd_; }
    int take() const {  // 0: none
        signalfd_siginfo info{};
        return read(fd_, &info, sizeof info) == sizeof info ? static_cast<int>(info.ssi_signo) : 0;
    }

  private:
    int fd_;
};

}  // namespace

int run_control_loop(Appliance& a) {
    const EndSignals signals;
    Tidier tidier(a);
    std::array<pollfd, 2> events{{{.fd = signals.fd(), .events = POLLIN, .revents = 0},
                                  {.fd = a.queue->fd(), .events = POLLIN, .revents = 0}}};
    while (true) {
        poll(events.data(), events.size(), kTickMs);
        if (const int signal = signals.take(); signal != 0) return signal;
        serve_packets(a);
        if ((events[1].revents & POLLIN) != 0) a.queue->serve();
        a.leases->tick();
        tidier.tidy_sometimes();
    }
}

void close_connections(Appliance& a) {
    cm::ConnectionManager& connections = a.control_plane->connections();
    connections.stop_listening(a.options.rdma.service_port);
    size_t waiting = 0;
    for (const cm::ConnectionInfo& connection : connections.list()) {
        ++waiting;
        if (!connections.disconnect(connection.qpn, [&waiting] { --waiting; })) --waiting;
    }
    if (waiting != 0) spdlog::info("closing {} connection{}", waiting, waiting == 1 ? "" : "s");
    const auto deadline = Clock::now() + kCloseWithin;
    while (waiting != 0 && Clock::now() < deadline) {
        serve_packets(a);
        std::this_thread::sleep_for(1ms);
    }
    // Control plane and callbacks die together: what is still waiting does not come back to `waiting`.
    connections.close_all();
}

}  // namespace lagan::appliance
