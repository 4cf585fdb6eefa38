/* SPDX-License-Identifier: LGPL-2.1-or-later
 * SPDX-FileCopyrightText: The tdx-updated authors */
#pragma once

/* Every name that is visible outside the process: paths, bus names, actions, journal fields. */

#define BUS_NAME                "org.tdx.Update1"
#define BUS_PATH                "/org/tdx/Update1"
#define BUS_JOB_PREFIX          "/org/tdx/Update1/job"
#define BUS_INTERFACE           "org.tdx.Update1"
#define BUS_JOB_INTERFACE       "org.tdx.Update1.Job"
#define BUS_ERROR_PREFIX        "org.tdx.Update1.Error."

#define ACTION_APPLY            "org.tdx.update1.apply"
#define ACTION_APPLY_UNSAFE     "org.tdx.update1.apply-unsafe"
#define ACTION_CANCEL           "org.tdx.update1.cancel"
#define ACTION_HOLD             "org.tdx.update1.hold"
#define ACTION_INSPECT_GUESTS   "org.tdx.update1.inspect-guests"
#define ACTION_MANAGE_IMAGES    "org.tdx.update1.manage-images"
#define ACTION_SET_DESIRED      "org.tdx.update1.set-desired"
#define ACTION_REFRESH          "org.tdx.update1.refresh"

#define CONFIG_NAME             "tdx-updated"
#define STATE_DIRECTORY         "/var/lib/tdx-updated"
#define DATABASE_NAME           "state.db"
#define IMPORT_DIRECTORY        "/var/lib/tdx-updated/images"

/* The default catalogue; the first directory that has a version wins. */
#define CATALOGUE_DIRECTORIES \
        IMPORT_DIRECTORY, "/etc/tdx-updated/images", "/usr/lib/firmware/intel/tdx"

/* Structured journal fields (systemd.journal-fields(7): own fields, upper case). */
#define FIELD_JOB               "TDX_JOB"
#define FIELD_FROM              "TDX_FROM"
#define FIELD_TO                "TDX_TO"
#define FIELD_RESULT            "TDX_RESULT"
#define FIELD_ATTEMPT           "TDX_ATTEMPT"
#define FIELD_OUTCOME           "TDX_OUTCOME"
#define FIELD_BLOCKER           "TDX_BLOCKER"
#define FIELD_GUEST              "TDX_GUEST"
#define FIELD_UID               "TDX_UID"

/* Message ids; their texts are in systemd/tdx-updated.catalog. */
#define MESSAGE_JOB_QUEUED      "2e4ddec78e8d4f7b8d37e01497c2265c"
#define MESSAGE_JOB_FINISHED    "f063bd8f96b346c7908adea6ce544d4a"
#define MESSAGE_ATTEMPT_STARTED "31eacd61d7f64f3b813d52c60013854a"
#define MESSAGE_ATTEMPT_ENDED   "b3faac47c112434990b163bf4242f3bd"
#define MESSAGE_MODULE_UPDATED  "732778d32c2542609fd9545b87135305"
#define MESSAGE_MODULE_LOST     "6063c85121b644b78e25f4678d530631"
#define MESSAGE_FOREIGN_UPDATE  "1467317abf894210a319eb6b7989cde8"
#define MESSAGE_STUCK           "319bb4284175425b937ef68ce1d10a71"
#define MESSAGE_CONFIG_INVALID  "723cb23bb77c46b38bf706b68a4a98b8"
#define MESSAGE_STORE_FAILED    "41951e71a2fb49ba9258d05bccf36122"
#define MESSAGE_OVERRIDE        "aabc30bf1dfe4062a1540fa6c8ee4f56"
#define MESSAGE_DRAIN           "86e6b38739c6491c86d06726963cb056"
#define MESSAGE_SUSPECT         "d7a9fb23148b4da7957c2be6a4d98a96"
#define MESSAGE_WAITING         "cbda4c22839d4cfab05ba88193d6a322"
