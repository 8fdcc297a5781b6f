#pragma once

namespace CLI {
class App;
}

namespace dunlin {

// Adds `serve`; when it was chosen, parsing runs it and sets the exit code.
void register_serve(CLI::App& app, int& exit_code);

}  // namespace dunlin
