// SPDX-License-Identifier: BSD-3-Clause
#include "client/commands/completion.h"

#include <fmt/format.h>

#include <algorithm>
#include <boost/algorithm/string/split.hpp>
#include <cstdlib>

#include "client/commands/report.h"
#include "client/commands/where.h"

namespace lagan::client::commands {

using namespace std::chrono_literals;

namespace {

constexpr auto kPatience = 1s;  // somebody waits at the keyboard

bool takes_value(const CLI::Option& option) {
    return option.get_items_expected_max() != 0;
}

std::string first_line(const std::string& text) {
    return text.substr(0, text.find('\n'));
}

class Completer {
  public:
    Completer(const CLI::App& app, const Names& names) : at_(&app), names_(names) {}

    void pass(const std::string& word) {
        if (word == "=") return;  // bash makes three words of --role=read
        if (open_ != nullptr) {
            take_value(*std::exchange(open_, nullptr), word);
        } else if (ended_ || word == "--") {
            ended_ = true;
        } else if (word.starts_with('-')) {
            pass_option(word);
        } else if (const CLI::App* const sub = subcommand(word)) {
            at_ = sub;
            positionals_ = 0;
        } else {
            ++positionals_;
        }
    }

    Suggestions suggest(const std::string& typed) {
        const size_t equals = typed.starts_with("--") ? typed.find('=') : std::string::npos;
        if (open_ != nullptr) {
            values(*open_, typed == "=" ? "" : typed, "");
        } else if (ended_) {
            found_.files = true;
        } else if (equals != std::string::npos) {
            const CLI::Option* const option = find(typed.substr(0, equals));
            if (option != nullptr) values(*option, typed.substr(equals + 1), typed.substr(0, equals + 1));
        } else if (typed.starts_with('-')) {
            options(typed);
        } else {
            for (const CLI::App* sub : at_->get_subcommands([](const CLI::App*) { return true; }))
                add(sub->get_name(), sub->get_description(), typed);
            positional(typed);
        }
        return std::move(found_);
    }

  private:
    const CLI::App* subcommand(const std::string& name) const {
        for (const CLI::App* sub : at_->get_subcommands([](const CLI::App*) { return true; }))
            if (sub->get_name() == name) return sub;
        return nullptr;
    }

    const CLI::Option* find(const std::string& word) const {
        for (const CLI::Option* option : at_->get_options())
            if (option->nonpositional() && option->check_name(word)) return option;
        return nullptr;
    }

    void pass_option(const std::string& word) {
        const size_t equals = word.find('=');
        const CLI::Option* const option = find(word.substr(0, equals));
        if (option == nullptr || !takes_value(*option)) return;
        if (equals == std::string::npos)
            open_ = option;
        else
            take_value(*option, word.substr(equals + 1));
    }

    // Whom names are asked of.
    void take_value(const CLI::Option& option, const std::string& value) {
        if (option.check_lname("manager")) given_.manager.urls.push_back(value);
        if (option.check_lname("token-file")) given_.manager.token_file = value;
        if (option.check_lname("ca")) given_.manager.ca = value;
        if (option.check_lname("appliance")) given_.appliance = value;
    }

    void options(const std::string& typed) {
        for (const CLI::Option* option : at_->get_options())
            for (const std::string& name : option->get_lnames())
                add("--" + name, first_line(option->get_description()), typed);
    }

    void positional(const std::string& typed) {
        size_t place = 0;
        for (const CLI::Option* option : at_->get_options()) {
            if (!option->get_positional()) continue;
            if (place++ == positionals_) return values(*option, typed, "");
        }
    }

    // What a value may be, the definition says: "{read,write}", "NODE", "FILE".
    void values(const CLI::Option& option, const std::string& typed, const std::string& before) {
        std::string kind =
            option.get_option_text().empty() ? option.get_type_name() : option.get_option_text();
        if (kind.starts_with('{')) {
            std::vector<std::string> all;
            kind = kind.substr(1, kind.find('}') - 1);
            boost::algorithm::split(all, kind, [](char c) { return c == ','; });
            for (const std::string& value : all)
                add(before + value, "", before + typed);
            return;
        }
        kind = kind.substr(0, kind.find_first_of(" ["));
        if (kind == "REGION" || kind == "NODE" || kind == "FAILOVER") {
            for (const std::string& name : names_(kind, given_))
                add(before + name, "", before + typed);
        } else {
            found_.files =
                kind == "FILE" || kind == "SOCKET" || kind == "API" || option.check_name("program");
        }
    }

    void add(const std::string& word, const std::string& about, const std::string& typed) {
        if (word.starts_with(typed)) found_.words.push_back({word, about});
    }

    const CLI::App* at_;
    const Names& names_;
    Where given_;
    const CLI::Option* open_ = nullptr;  // its value comes next
    bool ended_ = false;                 // "--": what follows is a program and its arguments
    size_t positionals_ = 0;
    Suggestions found_;
};

}  // namespace

Suggestions complete(const CLI::App& app, const std::vector<std::string>& words, const Names& names) {
    Completer completer(app, names);
    for (size_t i = 0; i + 1 < words.size(); ++i)
        completer.pass(words[i]);
    return completer.suggest(words.empty() ? "" : words.back());
}

std::vector<std::string> known_names(const std::string& what, const Where& given) {
    std::vector<std::string> names;
    try {
        Server server(complete_where(given, [](const char* name) { return std::getenv(name); }), kPatience);
        const char* const list = what == "NODE" ? "nodes" : what == "REGION" ? "regions" : "failovers";
        const nlohmann::json all = server.list(std::string("/v1/") + list, list);
        for (const auto& each : all.at(list))
            names.push_back(word(each, what == "FAILOVER" ? "id" : "name"));
    } catch (const std::exception&) {  // no names then: a completion has nowhere to complain
    }
    return names;
}

void print(const Suggestions& suggestions) {
    for (const auto& [text, about] : suggestions.words)
        fmt::print("{}\t{}\n", text, about);
    if (suggestions.files) fmt::print(":\n");
}

}  // namespace lagan::client::commands
