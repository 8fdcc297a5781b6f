#pragma once

namespace CLI {
class App;
}

namespace dunlin {

// Adds `backup`, `restore` and `verify`; when one was chosen, parsing runs it and sets the exit code.
void register_storage(CLI::App& app, int& exit_code);

}  // namespace dunlin
