// SPDX-License-Identifier: BSD-3-Clause
// What the checks found, in the order in which they looked, and how it is told to people and to programs.
#pragma once

#include <cstddef>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace lagan::client::doctor {

enum class Verdict : uint8_t { ok, warning, problem, skipped };

struct Finding {
    Verdict verdict;
    std::string check;  // what was looked at: "userfaultfd", "port local0"
    std::string seen;   // one short sentence without a full stop
    std::string mend;   // commands, one a line; empty when there is nothing to mend
};

class Findings {
  public:
    void ok(std::string check, std::string seen);
    // Lagan works, but slower or not for long.
    void warning(std::string check, std::string seen, std::string mend);
    // Stops Lagan from working here.
    void problem(std::string check, std::string seen, std::string mend);
    // Not looked at, and why.
    void skipped(std::string check, std::string why);
    void add(Verdict verdict, std::string check, std::string seen, std::string mend);

    const std::vector<Finding>& all() const { return findings_; }
    size_t count(Verdict verdict) const;

  private:
    std::vector<Finding> findings_;
};

const char* to_string(Verdict verdict);  // "ok", "warn", "PROBLEM", "skip"

// A line per finding, its commands indented below it, and a summary.
std::string to_text(const Findings& findings);

// {"checks": [{"check", "verdict", "seen", "mend"}], "problems": N, "warnings": N}
nlohmann::json to_json(const Findings& findings);

}  // namespace lagan::client::doctor
