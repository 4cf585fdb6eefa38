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

/* @fields: "KEY=value", NULL-terminated; ACTION, DEVPATH, SUBSYSTEM and SEQNUM come by themselves. */
void uevent_send(UeventSender *sender, const char *action, const char *devpath, const char *subsystem,
                 const char *const *fields);
