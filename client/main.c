/* SPDX-License-Identifier: LGPL-2.1-or-later
 * SPDX-FileCopyrightText: The tdx-updated authors */
#include <errno.h>
#include <locale.h>
#include <stdio.h>
#include <string.h>

#include "base/errors.h"
#include "client/agent.h"
#include "client/output.h"
#include "client/verbs.h"

static int run(int argc, char *argv[]) {
        g_auto(Args) args = {};
        Tdxctl t = {};
        int status;

        args_parse(argc, argv, &t.options, &args);
        t.colour = t.options.json == JSON_OFF && output_may_colour();

        status = verbs_run(&t, &args);

        agent_close(&t);
        sd_bus_flush_close_unref(t.bus);
        return status;
}

int main(int argc, char *argv[]) {
        int status;

        setlocale(LC_ALL, "");
        /* A follower reads line by line. */
        setvbuf(stdout, NULL, _IOLBF, 0);

        status = run(argc, argv);

        if (fflush(stdout) != 0 || ferror(stdout)) {
                fprintf(stderr, "tdxctl: Standard output cannot be written: %s\n", strerror(errno));
                return status == EXIT_DONE ? EXIT_OTHER : status;
        }
        return status;
}
