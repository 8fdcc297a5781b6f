#pragma once

#include <string_view>

namespace dunlin {

// Tells systemd (Type=notify) about the service: "READY=1", "STOPPING=1", "RELOADING=1\nMONOTONIC_USEC=…", "STATUS=…".
// Does nothing without $NOTIFY_SOCKET; a failure to send is logged once and otherwise ignored, since nobody can act on it. Any thread.
void sd_notify(std::string_view state);

}  // namespace dunlin
