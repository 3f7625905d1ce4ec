// SPDX-License-Identifier: BSD-3-Clause
#include "client/doctor/findings.h"

#include <fmt/format.h>

#include <algorithm>
#include <sstream>

namespace lagan::client::doctor {

void Findings::add(Verdict verdict, std::string check, std::string seen, std::string mend) {
    findings_.push_back({verdict, std::move(check), std::move(seen), std::move(mend)});
}

void Findings::ok(std::string check, std::string seen) {
    add(Verdict::ok, std::move(check), std::move(seen), {});
}

void Findings::warning(std::string check, std::string seen, std::string mend) {
    add(Verdict::warning, std::move(check), std::move(seen), std::move(mend));
}

void Findings::problem(std::string check, std::string seen, std::string mend) {
    add(Verdict::problem, std::move(check), std::move(seen), std::move(mend));
}

void Findings::skipped(std::string check, std::string why) {
    add(Verdict::skipped, std::move(check), std::move(why), {});
}

size_t Findings::count(Verdict verdict) const {
    return static_cast<size_t>(
        std::count_if(findings_.begin(), findings_.end(),
                      [verdict](const Finding& finding) { return finding.verdict == verdict; }));
}

const char* to_string(Verdict verdict) {
    switch (verdict) {
        case Verdict::ok:
            return "ok";
        case Verdict::warning:
            return "warn";
        case Verdict::problem:
            return "PROBLEM";
        case Verdict::skipped:
            return "skip";
    }
    return "unknown";
}

static std::string plural(size_t count, const char* word) {
    return fmt::format("{} {}{}", count, word, count == 1 ? "" : "s");
}

static std::string summary(size_t problems, size_t warnings) {
    const std::string also = warnings == 0 ? "" : "; " + plural(warnings, "warning");
    if (problems == 0) return "Nothing stands in the way" + also + ".";
    return fmt::format("{} stand{} in the way{}.", plural(problems, "problem"), problems == 1 ? "s" : "",
                       also);
}

std::string to_text(const Findings& findings) {
    std::string text;
    for (const Finding& finding : findings.all()) {
        text += fmt::format("{:<8} {}: {}\n", to_string(finding.verdict), finding.check, finding.seen);
        std::istringstream commands(finding.mend);
        for (std::string line; std::getline(commands, line);)
            text += fmt::format("{:13}{}\n", "", line);
    }
    return text + summary(findings.count(Verdict::problem), findings.count(Verdict::warning)) + "\n";
}

nlohmann::json to_json(const Findings& findings) {
    nlohmann::json checks = nlohmann::json::array();
    for (const Finding& finding : findings.all()) {
        checks.push_back({{"check", finding.check},
                          {"verdict", to_string(finding.verdict)},
                          {"seen", finding.seen},
                          {"mend", finding.mend}});
    }
    return {{"checks", std::move(checks)},
            {"problems", findings.count(Verdict::problem)},
            {"warnings", findings.count(Verdict::warning)}};
}

}  // namespace lagan::client::doctor
