# Copyright 2026 the emmap authors. Licensed under the Apache License, Version 2.0.
#
# The other half of deposit.erl, which says how to run the two and draws the journal: takes from the account, but never
# more than it has.
defmodule Withdraw do
  @length 32
  # How long to leave the turn to others where there is too little, in milliseconds.
  @pause 10

  def main([file, first | rest]) do
    amounts = Enum.map([first | rest], &String.to_integer/1)
    {:ok, journal} = :emmap.open(file, [:create, :write, :shared, :append])
    Enum.each(amounts, fn amount -> IO.puts("#{amount} <- #{withdraw(journal, amount)}") end)
    :ok = :emmap.close(journal)
  end

  def main(_) do
    IO.puts(:stderr, "usage: elixir withdraw.exs JOURNAL AMOUNT...")
    System.halt(2)
  end

  # Returns the new balance.
  defp withdraw(journal, amount) do
    case in_turn(journal, fn -> take(journal, amount) end) do
      {:ok, balance} ->
        balance

      :too_little ->
        Process.sleep(@pause)
        withdraw(journal, amount)
    end
  end

  defp in_turn(journal, fun) do
    :ok = :emmap.lock_file(journal, :exclusive, :infinity)

    try do
      fun.()
    after
      :ok = :emmap.unlock_file(journal)
    end
  end

  defp take(journal, amount) do
    case balance(journal) - amount do
      balance when balance >= 0 ->
        :ok = :emmap.write(journal, [column(-amount, 10), " ", column(balance, 20), "\n"])
        {:ok, balance}

      _ ->
        :too_little
    end
  end

  # What the last line says, whoever wrote it: remap/1 takes over what the other program has appended.
  defp balance(journal) do
    case :emmap.remap(journal) do
      {:ok, 0} ->
        0

      {:ok, size} ->
        {:ok, <<_::binary-size(11), balance::binary-size(20), "\n">>} = :emmap.pread(journal, size - @length, @length)
        balance |> String.trim() |> String.to_integer()
    end
  end

  defp column(number, width), do: number |> Integer.to_string() |> String.pad_leading(width)
end

Withdraw.main(System.argv())
