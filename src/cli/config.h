#pragma once

namespace CLI {
class App;
}

namespace dunlin {

// Adds `config`; when it was chosen, parsing runs it and sets the exit code.
void register_config(CLI::App& app, int& exit_code);

}  // namespace dunlin
