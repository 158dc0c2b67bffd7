<?php

namespace Peer\Greeting;

final class Greeting
{
    public static function text(): string
    {
        return mb_strtolower("HELLO FROM COMPOSER");
    }
}
