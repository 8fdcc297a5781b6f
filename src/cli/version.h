#pragma once

namespace CLI {
class App;
}

namespace dunlin {

// Adds `version`; when it was chosen, parsing runs it and sets the exit code.
void register_version(CLI::App& app, int& exit_code);

}  // namespace dunlin
