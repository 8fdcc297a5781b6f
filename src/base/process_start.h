#pragma once

namespace dunlin {

// The first thing that a program does, before anything can open a descriptor or make a file; one thread.
// - Of descriptors 0 to 2 those that are closed become /dev/null: else the next file that is opened takes the number, and what is printed
//   or logged goes into it.
// - Files that the process makes are for its owner alone (umask 077).
void prepare_process();

}  // namespace dunlin
