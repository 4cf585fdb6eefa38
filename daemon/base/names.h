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
#define FIELD_UID               "TDX_UID"

/* Message ids; their texts are in systemd/tdx-updated.catalog. */
#define MESSAGE_JOB_QUEUED      "b4a0b1d6c57f4a6bb5d4dbb9d8a3f001"
#define MESSAGE_JOB_FINISHED    "0b6c4f1a6a3d4a1f9a4b7d1f5b2c8002"
#define MESSAGE_ATTEMPT_STARTED "8e2f6f0d0f0c4d6d8c0f3a7be12a5003"
#define MESSAGE_ATTEMPT_ENDED   "d1d7d33a4d164a8a9a3e0cbb8a9fe004"
#define MESSAGE_MODULE_UPDATED  "5a9be7bdc4b24a5ab08c6f63f6cda005"
#define MESSAGE_MODULE_LOST     "f2b80a0c1fa44dd29d2b2a9b7b9f1006"
#define MESSAGE_FOREIGN_UPDATE  "3c1f7c7e9f404a3c9d6a3a1e1b0d2007"
#define MESSAGE_STUCK           "97f9b7c4b5a84e0b8a3c0f7cb2a44008"
#define MESSAGE_CONFIG_INVALID  "6d2c9f0b7c3f4f4c8e1a9b6d5f3e7009"
#define MESSAGE_STORE_FAILED    "1f0a3f7a2d8c4b6e9c5d7e8f9a1b300a"
#define MESSAGE_OVERRIDE        "c8a7e6d5f4b34c2d9e1f0a2b3c4d500b"
#define MESSAGE_WAITING         "e7d6c5b4a3924f1e8d0c9b8a7f6e500c"
