"""The errors that COS answers with: codes, their HTTP status and words. No HTTP is done here."""

from typing import Final

# COS, "Error codes": the status and message that belong to a code.
_CODES: Final[dict[str, tuple[int, str]]] = {
    "AccessDenied": (403, "Access Denied."),
    "BadDigest": (400, "The Content-MD5 you specified did not match what we received."),
    "BucketAlreadyOwnedByYou": (409, "The bucket already exists and belongs to you."),
    "BucketNotEmpty": (409, "The bucket you tried to delete is not empty."),
    "EntityTooLarge": (400, "Your proposed upload exceeds the maximum allowed object size."),
    "EntityTooSmall": (400, "A part other than the last is smaller than the allowed minimum."),
    "ExpiredToken": (400, "The provided token has expired."),
    "FileAlreadyExists": (409, "The object already exists."),
    "IncompleteBody": (400, "The body is shorter than Content-Length."),
    "InternalError": (500, "We encountered an internal error. Please try again."),
    "InvalidAccessKeyId": (403, "The Access Key Id you provided does not exist in our records."),
    "InvalidArgument": (400, "Invalid argument."),
    "InvalidBucketName": (400, "The specified bucket is not valid."),
    "InvalidCopySource": (400, "The copy source is not valid."),
    "InvalidDelimiter": (400, "The delimiter must be a single character."),
    "InvalidDigest": (400, "The Content-MD5 you specified is not valid."),
    "InvalidObjectName": (400, "The object name holds a forbidden character."),
    "InvalidObjectState": (403, "The operation is not valid for the object storage class."),
    "InvalidPart": (400, "One or more of the specified parts could not be found or differ."),
    "InvalidPartOrder": (400, "The list of parts was not in ascending order."),
    "InvalidRange": (416, "The requested range cannot be satisfied."),
    "InvalidRequest": (400, "The request is not valid."),
    "InvalidURI": (400, "Could not parse the specified URI."),
    "KeyTooLong": (400, "Your key is too long."),
    "MalformedXML": (400, "The XML you provided was not well formed."),
    "MetadataTooLarge": (400, "The metadata exceed 2 KB."),
    "MethodNotAllowed": (405, "The specified method is not allowed against this resource."),
    "MissingContentLength": (411, "You must provide the Content-Length HTTP header."),
    "NoSuchBucket": (404, "The specified bucket does not exist."),
    "NoSuchCopySource": (404, "The specified copy source does not exist."),
    "NoSuchKey": (404, "The specified key does not exist."),
    "NoSuchUpload": (404, "The specified multipart upload does not exist."),
    "NotImplemented": (501, "The emulator does not implement this operation."),
    "NotSupportedStorageClass": (400, "The storage class is not supported."),
    "PreconditionFailed": (412, "Precondition not match."),
    "RequestTimeTooSkewed": (403, "The difference between the clocks is too large."),
    "ServiceUnavailable": (503, "Please reduce your request rate."),
    "SignatureDoesNotMatch": (403, "The Signature you specified is invalid."),
    "SlowDown": (503, "Please reduce your request rate."),
}
_CODE_OF_STATUS: Final = {400: "InvalidRequest", 403: "AccessDenied", 404: "NoSuchKey"}


class Refusal(Exception):
    """COS's answer to a request that it does not fulfil: *code*, HTTP *status*, message."""

    def __init__(
        self, code: str, message: str | None = None, *, status: int | None = None
    ) -> None:
        usual_status, usual_message = _CODES.get(code, (400, code))
        super().__init__(f"{code}: {message or usual_message}")
        self.code = code
        self.status = status or usual_status
        self.message = message or usual_message


def code_for(status: int) -> str:
    """The error code that an answer of *status* most often carries."""
    if status in _CODE_OF_STATUS:
        return _CODE_OF_STATUS[status]
    return next((code for code, (known, _) in _CODES.items() if known == status), "InternalError")
