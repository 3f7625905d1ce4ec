// SPDX-License-Identifier: BSD-3-Clause
// What could stand at the cursor of a command line, out of the definition of the command line itself. The
// shells' scripts (lagan.bash, _lagan) ask for it as `lagan __complete WORD...`.
#pragma once

#include <CLI/App.hpp>
#include <functional>
#include <string>
#include <vector>

#include "client/commands/server.h"

namespace lagan::client::commands {

struct Suggestions {
    struct Word {
        std::string text;
        std::string about;
    };
    std::vector<Word> words;
    bool files = false;  // names of files too
};

// "REGION", "NODE" or "FAILOVER", as option_text() says what a value is, to the names that there are now.
// `given`: what of it the command line says.
using Names = std::function<std::vector<std::string>(const std::string& what, const Where& given)>;

// `words`: those behind the program's name up to the cursor, the last one as far as it is typed.
Suggestions complete(const CLI::App& app, const std::vector<std::string>& words, const Names& names);

// Names from whom the command would ask; none if that takes more than a moment.
std::vector<std::string> known_names(const std::string& what, const Where& given);

// A line for each word, "TEXT\tABOUT"; ":" alone for files.
void print(const Suggestions& suggestions);

}  // namespace lagan::client::commands
