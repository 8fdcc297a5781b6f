#pragma once

namespace CLI {
class App;
}

namespace dunlin {

// Adds `token`; when it was chosen, parsing runs it and sets the exit code.
void register_token(CLI::App& app, int& exit_code);

}  // namespace dunlin
