/* SPDX-License-Identifier: LGPL-2.1-or-later
 * SPDX-FileCopyrightText: The tdx-updated authors */
#pragma once

/*
 * Sends messages in the kernel's uevent format to whoever has bound a datagram socket.
 * Nobody there is no error. In order, and never blocking the sender.
 */
typedef struct UeventSender UeventSender;

int uevent_sender_new(const char *path, UeventSender **ret);
UeventSender *uevent_sender_free(UeventSender *sender);

/* At most @max messages wait for room in the receiver's queue; more are dropped. */
void uevent_sender_set_max(UeventSender *sender, unsigned max);

/*
 * @fields: "KEY=value", NULL-terminated; ACTION, DEVPATH, SUBSYSTEM and SEQNUM come by themselves. 0, or -ENOBUFS if
 * it had to be dropped, as the kernel says it to the receiver.
 */
int uevent_send(UeventSender *sender, const char *action, const char *devpath, const char *subsystem,
                const char *const *fields);
