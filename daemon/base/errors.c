/* SPDX-License-Identifier: LGPL-2.1-or-later
 * SPDX-FileCopyrightText: The tdx-updated authors */
#include <errno.h>
#include <string.h>

#include <glib.h>

#include "base/errors.h"
#include "base/names.h"

#define OWN(name) BUS_ERROR_PREFIX name
#define DBUS(name) "org.freedesktop.DBus.Error." name

static const ErrorEntry table[_ERROR_MAX] = {
        [ERROR_NONE] = { "", 0, EXIT_DONE },
        [ERROR_NOT_SUPPORTED] = { OWN("NotSupported"), EOPNOTSUPP, EXIT_UNAVAILABLE },
        [ERROR_NOT_SAFE] = { OWN("NotSafe"), EPERM, EXIT_NOT_NOW },
        [ERROR_BUSY] = { OWN("Busy"), EBUSY, EXIT_NOT_NOW },
        [ERROR_ALREADY_CURRENT] = { OWN("AlreadyCurrent"), EALREADY, EXIT_DONE },
        [ERROR_DOWNGRADE] = { OWN("Downgrade"), ERANGE, EXIT_BLOCKED },
        [ERROR_INCOMPATIBLE_CPU] = { OWN("IncompatibleCpu"), ENOEXEC, EXIT_BLOCKED },
        [ERROR_INCOMPATIBLE_SEAMLDR] = { OWN("IncompatibleSeamldr"), ELIBBAD, EXIT_BLOCKED },
        [ERROR_INCOMPATIBLE_MODULE] = { OWN("IncompatibleModule"), ELIBMAX, EXIT_BLOCKED },
        [ERROR_IMAGE_INVALID] = { OWN("ImageInvalid"), EBADMSG, EXIT_IMAGE_INVALID },
        [ERROR_IMAGE_UNTRUSTED] = { OWN("ImageUntrusted"), EKEYREJECTED, EXIT_IMAGE_INVALID },
        [ERROR_DEBUG_IMAGE] = { OWN("DebugImage"), ENOTUNIQ, EXIT_BLOCKED },
        [ERROR_NO_SUCH_VERSION] = { OWN("NoSuchVersion"), ENOENT, EXIT_NO_SUCH },
        [ERROR_NO_SUCH_JOB] = { OWN("NoSuchJob"), ESRCH, EXIT_NO_SUCH },
        [ERROR_NO_SUCH_HOLD] = { OWN("NoSuchHold"), EIDRM, EXIT_NO_SUCH },
        [ERROR_NO_BUDGET] = { OWN("NoBudget"), EDQUOT, EXIT_NO_BUDGET },
        [ERROR_HELD] = { OWN("Held"), ENOLCK, EXIT_NOT_NOW },
        [ERROR_DEADLINE_EXPIRED] = { OWN("DeadlineExpired"), ETIME, EXIT_NOT_NOW },
        [ERROR_NOT_CANCELABLE] = { OWN("NotCancelable"), EINPROGRESS, EXIT_OTHER },
        [ERROR_PLAN_STALE] = { OWN("PlanStale"), ESTALE, EXIT_NOT_NOW },
        [ERROR_MODULE_LOST] = { OWN("ModuleLost"), ENXIO, EXIT_LOST },
        [ERROR_UPLOAD_FAILED] = { OWN("UploadFailed"), EREMOTEIO, EXIT_FAILED },
        [ERROR_VERIFY_FAILED] = { OWN("VerifyFailed"), EILSEQ, EXIT_FAILED },
        [ERROR_FOREIGN_UPDATE] = { OWN("ForeignUpdate"), EXDEV, EXIT_FAILED },
        [ERROR_LIMIT_EXCEEDED] = { OWN("LimitExceeded"), EUSERS, EXIT_NOT_NOW },
        [ERROR_INVALID_ARGS] = { DBUS("InvalidArgs"), EINVAL, EXIT_BAD_USAGE },
        [ERROR_ACCESS_DENIED] = { DBUS("AccessDenied"), EACCES, EXIT_NOT_AUTHORISED },
        [ERROR_INTERACTIVE_AUTHORIZATION] = { DBUS("InteractiveAuthorizationRequired"), ENOKEY, EXIT_NOT_AUTHORISED },
        [ERROR_IO] = { DBUS("IOError"), EIO, EXIT_OTHER },
};

const ErrorEntry *error_entry(ErrorId id) {
        return &table[id < _ERROR_MAX ? id : ERROR_IO];
}

ErrorId error_from_dbus_name(const char *name) {
        for (ErrorId id = ERROR_NONE + 1; id < _ERROR_MAX; id++)
                if (g_strcmp0(name, table[id].dbus_name) == 0)
                        return id;

        return ERROR_NONE;
}

const char *error_short_name(ErrorId id) {
        const char *name = error_entry(id)->dbus_name, *dot = strrchr(name, '.');

        return dot ? dot + 1 : name;
}
