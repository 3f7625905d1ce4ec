// SPDX-License-Identifier: BSD-3-Clause
// Test data for `lagan doctor`: a machine whose /proc, /sys and /dev are a directory that the test fills.
#pragma once

#include <sys/stat.h>

#include <boost/test/unit_test.hpp>
#include <filesystem>
#include <fstream>
#include <string>

#include "client/doctor/findings.h"
#include "client/doctor/machine.h"

namespace lagan::test {

namespace fs = std::filesystem;
using client::doctor::Finding;
using client::doctor::Findings;
using client::doctor::Machine;
using client::doctor::Verdict;

struct MadeUpMachine : Machine {
    MadeUpMachine() {
        std::string name = (fs::temp_directory_path() / "lagan-doctor-XXXXXX").string();
        BOOST_REQUIRE(mkdtemp(name.data()) != nullptr);
        root = name;
        memlock_bytes = UINT64_MAX;
        superuser = true;
        userfault = client::doctor::Userfault::usable;
        write("/proc/sys/kernel/osrelease", "6.1.0-18-amd64");
        capabilities(0);
    }
    ~MadeUpMachine() { fs::remove_all(root); }
    MadeUpMachine(const MadeUpMachine&) = delete;
    MadeUpMachine& operator=(const MadeUpMachine&) = delete;

    void write(const std::string& path, const std::string& text) const {
        fs::create_directories(at(path).parent_path());
        std::ofstream(at(path)) << text << '\n';
        BOOST_REQUIRE(fs::exists(at(path)));
    }
    void link(const std::string& path, const std::string& target) const {
        fs::create_directories(at(path).parent_path());
        fs::remove(at(path));
        fs::create_symlink(target, at(path));
    }
    void remove(const std::string& path) const { fs::remove_all(at(path)); }
    void capabilities(uint64_t mask, int seccomp = 0) const {
        char text[128];
        std::snprintf(text, sizeof text, "Name:\tlagan\nCapEff:\t%016lx\nSeccomp:\t%d", mask, seccomp);
        write("/proc/self/status", text);
    }
    void add_interface(const std::string& name, unsigned mtu, bool up, const std::string& address = {}) {
        interfaces.push_back({name, mtu, up, {}});
        if (!address.empty()) interfaces.back().addresses.push_back(net::IpAddress::parse(address));
    }
};

// The one finding that a check made.
inline Finding only(const Findings& findings) {
    BOOST_REQUIRE_EQUAL(findings.all().size(), 1U);
    return findings.all().front();
}

// The finding of that check's name.
inline Finding of(const Findings& findings, const std::string& check) {
    for (const Finding& finding : findings.all()) {
        if (finding.check == check) return finding;
    }
    BOOST_FAIL("no finding of \"" + check + "\" in:\n" + client::doctor::to_text(findings));
    return {};
}

// That a finding is of this kind, and says and mends what it should; whole texts would only repeat the code.
inline void expect(const Finding& finding, Verdict verdict, const std::string& seen,
                   const std::string& mend = {}) {
    BOOST_TEST_CONTEXT(finding.check + ": " + finding.seen + " / " + finding.mend) {
        BOOST_TEST(client::doctor::to_string(finding.verdict) == client::doctor::to_string(verdict));
        BOOST_TEST(finding.seen.find(seen) != std::string::npos);
        BOOST_TEST(finding.mend.find(mend) != std::string::npos);
        // What is in the way comes with its remedy, and nothing else does.
        const bool mends = verdict == Verdict::problem || verdict == Verdict::warning;
        BOOST_TEST(finding.mend.empty() != mends);
    }
}

}  // namespace lagan::test
