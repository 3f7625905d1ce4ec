// SPDX-License-Identifier: BSD-3-Clause
#include "client/doctor/machine.h"

#include <ifaddrs.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <fstream>
#include <memory>
#include <system_error>

#include "client/pager/descriptor.h"
#include "client/pager/open_userfaultfd.h"

namespace lagan::client::doctor {

namespace fs = std::filesystem;
using pager::Descriptor;

namespace {

unsigned interface_mtu(const std::string& name) {
    const Descriptor any(socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    ifreq request{};
    name.copy(request.ifr_name, sizeof request.ifr_name - 1);
    return ioctl(any.get(), SIOCGIFMTU, &request) == 0 ? static_cast<unsigned>(request.ifr_mtu) : 0;
}

void add_address(Interface& interface, const sockaddr* address) {
    if (address->sa_family == AF_INET) {
        const auto* in = reinterpret_cast<const sockaddr_in*>(address);
        interface.addresses.push_back(
            net::IpAddress::from_ipv4(reinterpret_cast<const uint8_t*>(&in->sin_addr)));
    } else if (address->sa_family == AF_INET6) {
        const auto* in = reinterpret_cast<const sockaddr_in6*>(address);
        interface.addresses.push_back(net::IpAddress::from_ipv6(in->sin6_addr.s6_addr));
    }
}

std::vector<Interface> read_interfaces() {
    ifaddrs* list = nullptr;
    if (getifaddrs(&list) != 0) throw std::system_error(errno, std::generic_category(), "getifaddrs");
    const std::unique_ptr<ifaddrs, decltype(&freeifaddrs)> owner(list, freeifaddrs);
    std::vector<Interface> interfaces;
    for (const ifaddrs* entry = list; entry != nullptr; entry = entry->ifa_next) {
        auto found = std::find_if(interfaces.begin(), interfaces.end(),
                                  [&](const Interface& other) { return other.name == entry->ifa_name; });
        if (found == interfaces.end()) {
            interfaces.push_back(
                {entry->ifa_name, interface_mtu(entry->ifa_name), (entry->ifa_flags & IFF_UP) != 0, {}});
            found = std::prev(interfaces.end());
        }
        if (entry->ifa_addr != nullptr) add_address(*found, entry->ifa_addr);
    }
    return interfaces;
}

Userfault try_userfaultfd() {
    const Descriptor userfault(pager::open_userfaultfd());
    if (userfault) {
        uffdio_api api{};
        api.api = UFFD_API;
        api.features = pager::kUserfaultFeatures;
        return ioctl(userfault.get(), UFFDIO_API, &api) == 0 ? Userfault::usable : Userfault::too_old;
    }
    const Descriptor limited(
        static_cast<int>(syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK | UFFD_USER_MODE_ONLY)));
    if (limited) return Userfault::user_mode_only;
    return errno == ENOSYS ? Userfault::missing : Userfault::denied;
}

uint64_t read_memlock() {
    rlimit limit{};
    if (getrlimit(RLIMIT_MEMLOCK, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY) return UINT64_MAX;
    return limit.rlim_cur;
}

}  // namespace

Machine Machine::this_one() {
    return {.interfaces = read_interfaces(),
            .userfault = try_userfaultfd(),
            .memlock_bytes = read_memlock(),
            .superuser = geteuid() == 0};
}

bool Machine::exists(const fs::path& path) const {
    std::error_code ignored;
    return fs::exists(at(path), ignored);
}

bool Machine::may(const fs::path& path, int mode) const {
    return access(at(path).c_str(), mode) == 0;
}

std::optional<std::string> Machine::text(const fs::path& path) const {
    std::ifstream file(at(path));
    std::string content;
    char block[4096];
    while (file.good()) {
        file.read(block, sizeof block);
        content.append(block, static_cast<size_t>(file.gcount()));
    }
    // Attributes of sysfs may open and then fail to be read.
    if (!file.eof()) return std::nullopt;
    const auto first = content.find_first_not_of(" \t\n");
    if (first == std::string::npos) return "";
    return content.substr(first, content.find_last_not_of(" \t\n") - first + 1);
}

uint64_t Machine::number(const fs::path& path) const {
    const std::string digits = text(path).value_or("");
    uint64_t value = 0;
    std::from_chars(digits.data(), digits.data() + digits.size(), value);
    return value;
}

std::vector<std::string> Machine::list(const fs::path& path) const {
    std::error_code error;
    std::vector<std::string> names;
    for (fs::directory_iterator entry(at(path), error), end; !error && entry != end; entry.increment(error))
        names.push_back(entry->path().filename());
    std::sort(names.begin(), names.end());
    return names;
}

std::string Machine::link_name(const fs::path& path) const {
    std::error_code error;
    return fs::read_symlink(at(path), error).filename();
}

const Interface* Machine::interface(const std::string& name) const {
    for (const Interface& candidate : interfaces) {
        if (candidate.name == name) return &candidate;
    }
    return nullptr;
}

bool Machine::has_capability(unsigned number_of) const {
    constexpr std::string_view kLabel = "CapEff:\t";
    const std::string status = text("/proc/self/status").value_or("");
    const size_t at_label = status.find(kLabel);
    if (at_label == std::string::npos) return superuser;
    uint64_t mask = 0;
    const char* digits = status.data() + at_label + kLabel.size();
    std::from_chars(digits, status.data() + status.size(), mask, 16);
    return (mask >> number_of & 1) != 0;
}

std::string Machine::kernel() const {
    return text("/proc/sys/kernel/osrelease").value_or("");
}

}  // namespace lagan::client::doctor
